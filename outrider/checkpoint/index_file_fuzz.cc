#include <filesystem>
#include <string>
#include <string_view>

#include "outrider/checkpoint/index_file.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any index either fails with an Error or maps names to files.
FUZZ_TARGET(index_file) {
  const auto index = outrider::parse_index(input, "fuzz");
  for (const auto& entry : index.weight_map) {
    require(entry.shard < index.shards.size());
    const std::string& shard = index.shards[entry.shard];
    const std::filesystem::path in = std::filesystem::path("root") / shard;
    require(!outrider::is_inside(shard) || in.lexically_normal().string().starts_with("root/"));
  }
  require(index.repeated_keys().size() <= index.weight_map.size());
}
