#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace outrider {

// Finds names among a list that somebody else owns: an open-addressing table of positions. The hash is seeded anew in
// each process, so that a file cannot be made to collide.
class NameTable {
 public:
  explicit NameTable(std::size_t expected = 0) { reset(expected); }
  // Empties the table and makes room for `expected` names.
  void reset(std::size_t expected);

  static std::uint64_t hash(std::string_view name);

  // Adds `position`, whose name is `name` and has hash `h`. Where the name is there already, returns its position and
  // adds nothing. `name_at(position)` gives the name of what was added before.
  template <typename NameAt>
  std::optional<std::uint32_t> insert(std::string_view name, std::uint64_t h, std::uint32_t position,
                                      const NameAt& name_at) {
    for (std::size_t i = h & mask_;; i = (i + 1) & mask_) {
      Entry& entry = entries_[i];
      if (entry.position == kEmpty) {
        entry = {static_cast<std::uint32_t>(h >> 32), position};
        return std::nullopt;
      }
      if (entry.tag == static_cast<std::uint32_t>(h >> 32) && name_at(entry.position) == name) return entry.position;
    }
  }

  template <typename NameAt>
  std::optional<std::uint32_t> find(std::string_view name, const NameAt& name_at) const {
    const std::uint64_t h = hash(name);
    for (std::size_t i = h & mask_;; i = (i + 1) & mask_) {
      const Entry& entry = entries_[i];
      if (entry.position == kEmpty) return std::nullopt;
      if (entry.tag == static_cast<std::uint32_t>(h >> 32) && name_at(entry.position) == name) return entry.position;
    }
  }

 private:
  static constexpr std::uint32_t kEmpty = 0xffffffff;
  struct Entry {
    std::uint32_t tag = 0;
    std::uint32_t position = kEmpty;
  };

  std::vector<Entry> entries_;
  std::size_t mask_ = 0;
};

}  // namespace outrider
