#include <set>
#include <string_view>

#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any header either fails with an Error or describes tensors of different names that cover the data section without
// hole or overlap.
FUZZ_TARGET(safetensors_header) {
  const auto header = outrider::parse_safetensors_header(input, "fuzz");
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  for (const outrider::TensorInfo& t : header.tensors) {
    require(t.begin == at && outrider::tensor_bytes(t.dtype, t.shape) == t.bytes());
    require(names.insert(t.name).second);
    at = t.end;
  }
  require(at == header.data_bytes);
}
