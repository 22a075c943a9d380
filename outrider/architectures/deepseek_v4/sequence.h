#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "outrider/backend/row_store.h"
#include "outrider/manifest/model_config.h"
#include "outrider/math/rounding.h"

namespace outrider {

// What one layer remembers of a sequence.
struct LayerState {
  // Keys (they are the values too) of the last positions, at position % rows. The ring is larger than the window, so
  // tokens that may be taken back push nothing out that is still seen.
  RowStore window;
  std::optional<CompressorState> compressor;
  std::optional<CompressorState> indexer;
};

struct SequenceLimits {
  std::uint64_t max_length = 0;  // tokens, at most max_position_embeddings
  // How many of the last tokens may be taken back. A model can draft that many at once, at most.
  std::uint64_t max_rollback = 16;
};

// Everything that layers remember of one sequence of tokens, kept by position: truncating is setting a length. A
// sequence is used by one forward pass at a time.
class Sequence {
 public:
  // Of a model's `layers` (Model::new_sequence), or of a drafter's. Throws Error where the limits exceed the model's,
  // or memory.
  Sequence(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode, SequenceLimits limits);

  std::uint64_t length() const { return length_; }
  std::uint64_t max_length() const { return limits_.max_length; }
  const SequenceLimits& limits() const { return limits_; }
  // Removes all tokens from position `length` on. Throws Error where that is more than max_rollback tokens behind the
  // furthest position reached (except for 0, which starts anew).
  void truncate(std::uint64_t length);
  bool can_truncate(std::uint64_t length) const;

  // A forward pass stores positions from length() on in each layer, then advances. Throws Error beyond max_length.
  LayerState& layer(std::size_t i) { return layers_[i]; }
  void advance(std::uint64_t tokens);

  std::uint64_t bytes() const { return bytes_; }  // of memory reserved

 private:
  SequenceLimits limits_;
  std::uint64_t bytes_ = 0;
  std::uint64_t length_ = 0;
  std::uint64_t furthest_ = 0;  // positions stored since the start; their rows may have displaced older ones
  std::vector<LayerState> layers_;
};

// Bytes that a sequence takes, before one is made. Saturates instead of overflowing.
std::uint64_t sequence_bytes(std::span<const LayerAttention> layers, const ModelConfig& config, NumericMode mode,
                             const SequenceLimits& limits);

}  // namespace outrider
