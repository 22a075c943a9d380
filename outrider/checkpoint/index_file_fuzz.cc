#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "outrider/checkpoint/index_file.h"
#include "outrider/util/error.h"

// Any index either fails with an Error or maps names to files.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto index = outrider::parse_index({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const auto& entry : index.weight_map) {
      if (entry.shard >= index.shards.size()) std::abort();
      const std::string& shard = index.shards[entry.shard];
      const std::filesystem::path in = std::filesystem::path("root") / shard;
      if (outrider::is_inside(shard) && !in.lexically_normal().string().starts_with("root/")) std::abort();
    }
    if (index.repeated_keys().size() > index.weight_map.size()) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
