#include "outrider/checkpoint/key_positions.h"

#include <algorithm>

namespace outrider {
namespace {

std::uint64_t hash(const NameKey& key) {
  return seeded_hash(std::uint64_t{key.pattern} << 32 | key.first, key.second);
}

}  // namespace

void KeyPositions::build(std::span<const NameKey> keys, std::size_t patterns,
                         const std::function<void(std::uint32_t first, std::uint32_t position)>& again) {
  grids_.assign(patterns, {});
  for (const NameKey& key : keys) {
    Grid& grid = grids_[key.pattern];
    grid.rows = std::max(grid.rows, key.first + 1);
    grid.columns = std::max(grid.columns, key.second + 1);
    ++grid.count;
  }
  std::size_t cells = 0;
  std::size_t sparse = 0;
  for (Grid& grid : grids_) {
    const std::uint64_t size = std::uint64_t{grid.rows} * grid.columns;
    // At most a few cells for each name, whatever the numbers are.
    grid.dense = size <= std::uint64_t{4} * grid.count;
    grid.begin = cells;
    if (grid.dense) {
      cells += size;
    } else {
      sparse += grid.count;
    }
  }
  cells_.assign(cells, kEmpty);
  sparse_.reset(sparse);
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const NameKey& key = keys[i];
    const Grid& grid = grids_[key.pattern];
    if (grid.dense) {
      std::uint32_t& cell = cells_[grid.cell(key)];
      if (cell == kEmpty) {
        cell = i;
      } else {
        again(cell, i);
      }
    } else if (const auto first = sparse_.insert(hash(key), i, [&](std::uint32_t at) { return keys[at] == key; })) {
      again(*first, i);
    }
  }
}

std::optional<std::uint32_t> KeyPositions::find_sparse(std::span<const NameKey> keys, const NameKey& key) const {
  return sparse_.find(hash(key), [&](std::uint32_t at) { return keys[at] == key; });
}

}  // namespace outrider
