#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "outrider/checkpoint/name_pattern.h"
#include "outrider/checkpoint/position_table.h"

namespace outrider {

// Where in a list the name of a key stands. The names of a pattern mostly fill a grid of their numbers, layers by
// experts, so a position is looked up in that; patterns whose numbers lie too far apart go through a hash table.
class KeyPositions {
 public:
  // `patterns`: how many there are. `again(first, position)` is called for each key that occurred before.
  void build(std::span<const NameKey> keys, std::size_t patterns,
             const std::function<void(std::uint32_t first, std::uint32_t position)>& again);
  // Among `keys` of build(), the first that is equal.
  std::optional<std::uint32_t> find(std::span<const NameKey> keys, const NameKey& key) const {
    if (key.pattern >= grids_.size()) return std::nullopt;
    const Grid& grid = grids_[key.pattern];
    if (!grid.dense) return find_sparse(keys, key);
    if (key.first >= grid.rows || key.second >= grid.columns) return std::nullopt;
    const std::uint32_t at = cells_[grid.cell(key)];
    return at == kEmpty ? std::nullopt : std::optional(at);
  }

 private:
  static constexpr std::uint32_t kEmpty = 0xffffffff;
  struct Grid {
    std::uint32_t rows = 0;
    std::uint32_t columns = 0;
    std::uint32_t count = 0;
    bool dense = true;
    std::size_t begin = 0;  // in cells_

    std::size_t cell(const NameKey& key) const { return begin + std::size_t{key.first} * columns + key.second; }
  };
  std::optional<std::uint32_t> find_sparse(std::span<const NameKey> keys, const NameKey& key) const;

  std::vector<Grid> grids_;  // by pattern
  std::vector<std::uint32_t> cells_;
  PositionTable sparse_;
};

}  // namespace outrider
