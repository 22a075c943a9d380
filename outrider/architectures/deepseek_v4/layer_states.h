#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "outrider/architectures/sequence.h"
#include "outrider/backend/row_store.h"
#include "outrider/manifest/model_config.h"
#include "outrider/math/rounding.h"

namespace outrider {

// The state of one layer for one sequence.
struct LayerState {
  // Keys (also the values) of the last positions, at position % rows. The ring is larger than the window, so that
  // tokens that may be rolled back do not overwrite anything still visible.
  RowStore window;
  std::optional<CompressorState> compressor;
  std::optional<CompressorState> indexer;
};

// Creates a sequence for `layers` of a model or a drafter. Throws Error if the limits exceed the model's, or if there
// is not enough memory.
Sequence new_sequence(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                      SequenceLimits limits);
// Bytes of such a sequence. Saturates instead of overflowing.
std::uint64_t sequence_bytes(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                             const SequenceLimits& limits);

// The state of one layer. Throws Error if the sequence was not created by new_sequence().
LayerState& layer_state(Sequence& sequence, std::size_t layer);

}  // namespace outrider
