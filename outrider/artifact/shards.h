#pragma once

#include <cstdint>
#include <vector>

#include "outrider/artifact/new_artifact.h"

namespace outrider {

// Tensors in files of at most `max_bytes` of data, in their order: model-00001-of-00007.safetensors, or
// model.safetensors where there is one. A tensor larger than that has a file of its own.
std::vector<NewShard> in_shards(std::vector<NewTensor> tensors, std::uint64_t max_bytes);

// The tensors of files to be written, as a list that can be checked.
std::vector<Checkpoint::Listed> listing(const std::vector<NewShard>& shards);

}  // namespace outrider
