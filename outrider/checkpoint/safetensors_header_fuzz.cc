#include <cstdint>
#include <cstdlib>

#include "outrider/checkpoint/safetensors_header.h"

// Any header either fails with an Error or describes tensors that cover the data section without hole or overlap.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const outrider::SafetensorsHeader header =
        outrider::parse_safetensors_header({reinterpret_cast<const char*>(data), size}, "fuzz");
    std::uint64_t at = 0;
    for (const outrider::TensorInfo& t : header.tensors) {
      if (t.begin != at || outrider::tensor_bytes(t.dtype, t.shape) != t.bytes()) std::abort();
      at = t.end;
    }
    if (at != header.data_bytes) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
