#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

inline constexpr std::string_view kIndexFileName = "model.safetensors.index.json";
inline constexpr std::string_view kIndexSuffix = ".safetensors.index.json";  // of indexes by other names, too

// Larger index files are refused before they are read. (V4-Pro's is about 25 MB.)
inline constexpr std::uint64_t kMaxIndexBytes = 128 << 20;

// model.safetensors.index.json: which tensor is in which file.
struct IndexFile {
  struct Entry {
    std::string_view tensor;  // lives as long as `text`
    std::uint32_t shard = 0;  // position in `shards`
  };
  std::vector<Entry> weight_map;            // in the order of the file
  std::vector<std::string> shards;          // each file once, without "./", in order of first appearance
  std::optional<std::uint64_t> total_size;  // metadata.total_size, bytes
  std::shared_ptr<const void> text;         // what the names are views of

  // Tensors named more than once.
  std::vector<std::string_view> repeated_keys() const;
};

// Whether a file of an index lies in the checkpoint's directory or below it. Others ("/home/me/x", "../x") are never
// opened.
bool is_inside(std::string_view shard);

// Validates the text of an index. Refuses, as an Error whose message begins with `where`: not UTF-8, not JSON, no
// weight_map, values that are no strings.
IndexFile parse_index(std::string_view json, const std::string& where);
IndexFile read_index(const std::filesystem::path& path);

}  // namespace outrider
