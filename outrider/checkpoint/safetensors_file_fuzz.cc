#include <string_view>

#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/memory_file.h"

using outrider::testing::require;

// Any file either fails with an Error or has the size that its header says, which is read as the same from memory.
FUZZ_TARGET(safetensors_file) {
  const outrider::testing::MemoryFile file(input);
  const auto header = outrider::read_safetensors_header_strict(file.path());
  require(header.expected_file_bytes() == input.size());
  const auto again = outrider::parse_safetensors_header(input.substr(8, header.data_start - 8), "fuzz");
  require(again.tensors.size() == header.tensors.size() && again.metadata == header.metadata);
}
