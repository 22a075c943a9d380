#include <set>
#include <string_view>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any header either fails with an Error, or keeps what precedes its fault: tensors of different names that follow one
// another without overlap.
FUZZ_TARGET(gguf_header) {
  const auto header = outrider::parse_gguf_header(input);
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  for (const outrider::GgufTensor& t : header.tensors) {
    const auto bytes = outrider::ggml_tensor_bytes(t.type, t.shape);
    require(bytes && t.offset >= at && names.insert(t.name).second);
    at = t.offset + *bytes;
    require(at >= t.offset);
  }
  require(!header.problem.empty() || header.tensors.size() == header.tensor_count);
}
