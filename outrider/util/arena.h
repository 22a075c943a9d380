#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <span>
#include <string_view>

namespace outrider {

// Owns many small strings and shapes with few allocations. The copies live as long as the arena, also after the arena
// is moved.
class Arena {
 public:
  std::string_view copy(std::string_view text) {
    const auto out = copy_of(std::span(text.data(), text.size()));
    return {out.data(), out.size()};
  }
  std::span<const std::uint64_t> copy(std::span<const std::uint64_t> values) { return copy_of(values); }

 private:
  template <typename T>
  std::span<const T> copy_of(std::span<const T> values) {
    if (values.empty()) return {};
    auto* to = static_cast<T*>(memory_->allocate(values.size_bytes(), alignof(T)));
    std::memcpy(to, values.data(), values.size_bytes());
    return {to, values.size()};
  }

  std::unique_ptr<std::pmr::monotonic_buffer_resource> memory_ =
      std::make_unique<std::pmr::monotonic_buffer_resource>();
};

}  // namespace outrider
