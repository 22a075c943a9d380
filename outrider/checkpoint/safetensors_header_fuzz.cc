#include <cstdint>
#include <cstdlib>
#include <set>
#include <string_view>

#include "outrider/checkpoint/safetensors_header.h"

// Any header either fails with an Error or describes tensors of different names that cover the data section without
// hole or overlap.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto header = outrider::parse_safetensors_header({reinterpret_cast<const char*>(data), size}, "fuzz");
    std::uint64_t at = 0;
    std::set<std::string_view> names;
    for (const outrider::TensorInfo& t : header.tensors) {
      if (t.begin != at || outrider::tensor_bytes(t.dtype, t.shape) != t.bytes()) std::abort();
      if (!names.insert(t.name).second) std::abort();
      at = t.end;
    }
    if (at != header.data_bytes) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
