#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "outrider/backend/batch.h"
#include "outrider/backend/rows.h"

namespace outrider {

// The vector at `position`: from the batch if the chunk covers it, otherwise from the ring.
inline void load_row(const Chunk& chunk, const Rows& rows_of_batch, const RowStore& ring, std::uint64_t position,
                     float* out) {
  if (position >= chunk.start) {
    std::copy_n(rows_of_batch[chunk.first_row + (position - chunk.start)].data(), ring.cols(), out);
  } else {
    ring.load(position % ring.rows(), out);
  }
}

// Writes the chunk's rows to the ring; only the last ones if the ring is shorter.
inline void keep_rows(const Chunk& chunk, const Rows& rows_of_batch, RowStore& ring) {
  for (std::size_t i = chunk.rows - std::min(chunk.rows, ring.rows()); i < chunk.rows; ++i) {
    ring.store((chunk.start + i) % ring.rows(), rows_of_batch[chunk.first_row + i]);
  }
}

}  // namespace outrider
