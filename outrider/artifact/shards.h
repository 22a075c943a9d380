#pragma once

#include <cstdint>
#include <vector>

#include "outrider/artifact/new_artifact.h"

namespace outrider {

// Distributes tensors over files of at most `max_bytes` of data, in order: model-00001-of-00007.safetensors, …, or
// model.safetensors if there is only one. A larger tensor gets a file of its own.
std::vector<NewShard> in_shards(std::vector<NewTensor> tensors, std::uint64_t max_bytes);

// The tensors of new files, as a list that can be checked.
std::vector<Checkpoint::Listed> listing(const std::vector<NewShard>& shards);

}  // namespace outrider
