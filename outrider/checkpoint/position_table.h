#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace outrider {

// Hashes for PositionTable, seeded anew in each process, so that a file cannot be made to collide.
std::uint64_t seeded_hash(std::string_view text);
std::uint64_t seeded_hash(std::uint64_t a, std::uint64_t b);

// Finds items of a list that somebody else owns: an open-addressing table of positions.
class PositionTable {
 public:
  explicit PositionTable(std::size_t expected = 0) { reset(expected); }
  // Empties the table and makes room for `expected` items.
  void reset(std::size_t expected);

  // Adds `position`, of an item with hash `h`. Where `is_it(position)` says of one that was added before that it is the
  // same item, returns that and adds nothing.
  template <typename IsIt>
  std::optional<std::uint32_t> insert(std::uint64_t h, std::uint32_t position, const IsIt& is_it) {
    for (std::size_t i = h & mask_;; i = (i + 1) & mask_) {
      Entry& entry = entries_[i];
      if (entry.position == kEmpty) {
        entry = {static_cast<std::uint32_t>(h >> 32), position};
        return std::nullopt;
      }
      if (entry.tag == static_cast<std::uint32_t>(h >> 32) && is_it(entry.position)) return entry.position;
    }
  }

  template <typename IsIt>
  std::optional<std::uint32_t> find(std::uint64_t h, const IsIt& is_it) const {
    for (std::size_t i = h & mask_;; i = (i + 1) & mask_) {
      const Entry& entry = entries_[i];
      if (entry.position == kEmpty) return std::nullopt;
      if (entry.tag == static_cast<std::uint32_t>(h >> 32) && is_it(entry.position)) return entry.position;
    }
  }

  // How many items fit before the table has to be made anew.
  std::size_t capacity() const { return entries_.size() / 2; }

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
