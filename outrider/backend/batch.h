#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/backend/row_store.h"

namespace outrider {

// Consecutive tokens of one sequence among the rows of a batch, and what the layer at hand remembers of that sequence.
struct Chunk {
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::uint64_t start = 0;                // position of the first
  RowStore* window = nullptr;             // keys of the last positions, at position % rows
  CompressorState* compressor = nullptr;  // of compressed layers
  CompressorState* indexer = nullptr;     // of layers with an indexer
};

// A batch on its way through the layers. Each row is a token; chunks cover the rows in order. What a row comes to
// depends on nothing but its sequence up to itself: not on the other chunks, nor on how the sequence was cut into them.
struct Batch {
  std::span<const Chunk> chunks;
  std::span<const std::uint32_t> tokens;     // by row
  std::span<const std::uint64_t> positions;  // by row
};

}  // namespace outrider
