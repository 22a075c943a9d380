#include <cstdint>
#include <cstdlib>
#include <set>
#include <string_view>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/util/error.h"

// Any header either fails with an Error, or keeps what precedes its fault: tensors of different names that follow one
// another without overlap.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto header = outrider::parse_gguf_header({reinterpret_cast<const char*>(data), size});
    std::uint64_t at = 0;
    std::set<std::string_view> names;
    for (const outrider::GgufTensor& t : header.tensors) {
      const auto bytes = outrider::ggml_tensor_bytes(t.type, t.shape);
      if (!bytes || t.offset < at || !names.insert(t.name).second) std::abort();
      at = t.offset + *bytes;
      if (at < t.offset) std::abort();
    }
    if (header.problem.empty() && header.tensors.size() != header.tensor_count) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
