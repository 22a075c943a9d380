#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/backend/row_store.h"

namespace outrider {

// Consecutive tokens of one sequence among the rows of a batch, and the current layer's state for that sequence.
struct Chunk {
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::uint64_t start = 0;                // position of the first token
  RowStore* window = nullptr;             // keys of the last positions, at position % rows
  CompressorState* compressor = nullptr;  // in compressed layers
  CompressorState* indexer = nullptr;     // in layers with an indexer
};

// A batch on its way through the layers. Each row is a token; chunks cover the rows in order. The result of a row
// depends only on the preceding tokens of its sequence and itself: not on other chunks, nor on how the sequence was
// divided into chunks.
struct Batch {
  std::span<const Chunk> chunks;
  std::span<const std::uint32_t> tokens;     // by row
  std::span<const std::uint64_t> positions;  // by row
};

}  // namespace outrider
