#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace outrider {

// Owns many small strings and shapes with few allocations, each twice as large as the one before, up to 1 MiB. What it
// hands out lives as long as the arena, also after the arena is moved.
class Arena {
 public:
  std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* to = reinterpret_cast<char*>(allocate(text.size(), 1));
    std::memcpy(to, text.data(), text.size());
    return {to, text.size()};
  }

  std::span<const std::uint64_t> copy(std::span<const std::uint64_t> values) {
    if (values.empty()) return {};
    auto* to = reinterpret_cast<std::uint64_t*>(allocate(values.size_bytes(), alignof(std::uint64_t)));
    std::memcpy(to, values.data(), values.size_bytes());
    return {to, values.size()};
  }

 private:
  static constexpr std::size_t kFirstChunk = 16 << 10;
  static constexpr std::size_t kLargestChunk = 1 << 20;

  std::byte* allocate(std::size_t bytes, std::size_t alignment) {
    used_ = (used_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || used_ + bytes > size_) {
      size_ = std::max(bytes, std::clamp(2 * size_, kFirstChunk, kLargestChunk));
      chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size_));
      used_ = 0;
    }
    std::byte* at = chunks_.back().get() + used_;
    used_ += bytes;
    return at;
  }

  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t used_ = 0;
  std::size_t size_ = 0;
};

}  // namespace outrider
