#include "outrider/artifact/shards.h"

#include <fmt/format.h>

#include <utility>

namespace outrider {

std::vector<NewShard> in_shards(std::vector<NewTensor> tensors, std::uint64_t max_bytes) {
  std::vector<NewShard> shards;
  std::uint64_t bytes = 0;
  for (NewTensor& tensor : tensors) {
    const std::uint64_t own = tensor.bytes();
    if (shards.empty() || (bytes + own > max_bytes && bytes != 0)) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += own;
    shards.back().tensors.push_back(std::move(tensor));
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1 ? std::string("model.safetensors")
                                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

std::vector<Checkpoint::Listed> listing(const std::vector<NewShard>& shards) {
  std::vector<Checkpoint::Listed> list;
  for (const NewShard& shard : shards) {
    for (const NewTensor& tensor : shard.tensors) {
      list.push_back({tensor.to.name, tensor.to.dtype, tensor.to.shape, shard.name});
    }
  }
  return list;
}

}  // namespace outrider
