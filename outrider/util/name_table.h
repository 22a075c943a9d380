#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace outrider {

// Finds names in a list that somebody else owns: a flat table of their numbers and a part of their hashes. With 70,000
// names it fits a processor's cache, where a std::unordered_map takes several times as long. Hashes are seeded anew in
// each process, so that a file cannot make names collide. `name_of(number)` gives a name that was inserted.
class NameTable {
 public:
  // For at most `names` names.
  explicit NameTable(std::size_t names = 0);

  // Where the name is there already, returns its number and adds nothing.
  template <typename NameOf>
  std::optional<std::uint32_t> insert(std::string_view name, std::uint32_t number, const NameOf& name_of) {
    const std::uint64_t hash = hash_of(name);
    Entry& entry = entries_[place(name, hash, name_of)];
    if (entry.number != kEmpty) return entry.number;
    entry = {static_cast<std::uint32_t>(hash >> 32), number};
    return std::nullopt;
  }
  template <typename NameOf>
  std::optional<std::uint32_t> find(std::string_view name, const NameOf& name_of) const {
    const Entry& entry = entries_[place(name, hash_of(name), name_of)];
    return entry.number == kEmpty ? std::nullopt : std::optional(entry.number);
  }

 private:
  static constexpr std::uint32_t kEmpty = 0xffffffff;
  struct Entry {
    std::uint32_t tag = 0;
    std::uint32_t number = kEmpty;
  };

  static std::uint64_t hash_of(std::string_view name);
  // Where the name is, or would be added.
  template <typename NameOf>
  std::size_t place(std::string_view name, std::uint64_t hash, const NameOf& name_of) const {
    const std::size_t mask = entries_.size() - 1;
    std::size_t at = hash & mask;
    while (entries_[at].number != kEmpty && (entries_[at].tag != hash >> 32 || name_of(entries_[at].number) != name)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  std::vector<Entry> entries_;  // a power of two, of which a quarter stays empty
};

}  // namespace outrider
