#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "outrider/checkpoint/index_file.h"
#include "outrider/util/error.h"

namespace {

std::optional<outrider::IndexFile> parse(const std::string& json) {
  try {
    return outrider::parse_index(json, "fuzz");
  } catch (const outrider::Error&) {
    return std::nullopt;
  }
}

}  // namespace

// Any index either fails with an Error or maps names to files, the same however it is read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string json(reinterpret_cast<const char*>(data), size);
  const auto index = parse(json);
  if (index) {
    for (const auto& entry : index->weight_map) {
      if (entry.shard >= index->shards.size()) std::abort();
      const std::string& shard = index->shards[entry.shard];
      const std::filesystem::path in = std::filesystem::path("root") / shard;
      if (outrider::is_inside(shard) && !in.lexically_normal().string().starts_with("root/")) std::abort();
      index->tensor(entry);
    }
    index->repeated_keys();
  }
  if (json.empty() || json[0] != '{') return 0;
  // An escape keeps the shortcuts out. The first 256 bytes are looked at before, for what is no JSON at all.
  const auto any = parse(R"({"\u0061":0,)" + json.substr(1));
  if (any.has_value() != index.has_value()) std::abort();
  if (!any) return 0;
  if (any->shards != index->shards || any->weight_map.size() != index->weight_map.size()) std::abort();
  for (std::size_t i = 0; i < any->weight_map.size(); ++i) {
    if (any->tensor(any->weight_map[i]) != index->tensor(index->weight_map[i])) std::abort();
    if (any->weight_map[i].shard != index->weight_map[i].shard) std::abort();
  }
  return 0;
}
