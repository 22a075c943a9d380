// What the tests of repairs share.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "outrider/artifact/repair/repair.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"

namespace outrider::testing {

inline void write_artifact_of(const std::filesystem::path& directory, synthetic::Family family,
                              std::uint32_t shards = 2) {
  synthetic::write_tiny_checkpoint(directory, {.family = family, .shards = shards});
}

inline CheckReport repaired(const std::filesystem::path& directory, const std::optional<std::filesystem::path>& output,
                            const RepairOptions& options = {}) {
  return carry_out(plan_repair(directory, options), directory, output);
}

// Of a tensor.
inline std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << name << " is missing";
    return {};
  }
  const ShardFile& file = checkpoint.files()[tensor->file];
  std::vector<std::byte> bytes(tensor->bytes());
  FileReader(file.path).read(file.data_start + tensor->begin, bytes);
  return bytes;
}

}  // namespace outrider::testing
