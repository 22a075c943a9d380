#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include "outrider/testing/temp_dir.h"

namespace outrider::testing {

// Makes the header of a safetensors file one byte longer, so that the data begins at an odd byte.
inline void make_unaligned(const std::filesystem::path& path) {
  std::string bytes = read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  bytes.insert(8 + length, " ");
  ++length;
  std::memcpy(bytes.data(), &length, 8);
  write_file(path, bytes);
}

}  // namespace outrider::testing
