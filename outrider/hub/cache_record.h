#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace outrider {

// What the cache knows of a file in a snapshot.
struct CachedFile {
  std::string etag;  // empty: unknown
  std::uint64_t size = 0;
  std::string hash;  // SHA-256 of the bytes that are kept, hexadecimal

  friend bool operator==(const CachedFile&, const CachedFile&) = default;
};
using CachedFiles = std::map<std::string, CachedFile>;  // by name

// The record of a snapshot, a JSON object.
std::string cache_record(const CachedFiles& files);
// Reads a record, without files whose names are not safe. Empty if it is damaged: then everything is read again.
CachedFiles parse_cache_record(std::string_view json);

}  // namespace outrider
