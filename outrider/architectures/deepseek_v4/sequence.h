#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "outrider/backend/row_store.h"
#include "outrider/manifest/model_config.h"
#include "outrider/math/rounding.h"

namespace outrider {

// What one layer, or one MTP block, remembers of a sequence.
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

// Everything a model remembers of one sequence of tokens, kept by position: taking tokens back is setting a length.
// Made by Model::new_sequence; a sequence is used by one forward pass at a time.
class Sequence {
 public:
  std::uint64_t length() const { return main_.length; }
  std::uint64_t max_length() const { return limits_.max_length; }
  const SequenceLimits& limits() const { return limits_; }
  // Takes back all tokens from position `length` on. Throws Error where that is more than max_rollback tokens behind
  // the furthest position reached (except for 0, which starts anew).
  void truncate(std::uint64_t length);
  bool can_truncate(std::uint64_t length) const { return can_truncate(main_, length); }

  // The same for MTP block i, whose cache covers the positions it was run over.
  std::size_t mtp_blocks() const { return mtp_.size(); }
  std::uint64_t mtp_length(std::size_t i = 0) const { return mtp_[i].length; }
  void truncate_mtp(std::uint64_t length, std::size_t i = 0);
  bool can_truncate_mtp(std::uint64_t length, std::size_t i = 0) const { return can_truncate(mtp_[i], length); }

  std::uint64_t bytes() const { return bytes_; }  // of memory reserved

 private:
  friend class Model;

  struct Timeline {
    std::uint64_t length = 0;
    std::uint64_t furthest = 0;  // positions written since the start; their rows may have displaced older ones
    std::vector<LayerState> layers;

    void advance(std::uint64_t tokens);
  };

  Sequence(const ModelConfig& config, std::size_t mtp_blocks, NumericMode mode, SequenceLimits limits);
  bool can_truncate(const Timeline& timeline, std::uint64_t length) const;
  void truncate(Timeline& timeline, std::uint64_t length, const char* what) const;

  SequenceLimits limits_;
  std::uint64_t bytes_ = 0;
  Timeline main_;
  std::vector<Timeline> mtp_;
};

// Bytes that a sequence takes, before one is made. Saturates instead of overflowing.
std::uint64_t sequence_bytes(const ModelConfig& config, std::size_t mtp_blocks, NumericMode mode,
                             const SequenceLimits& limits);

}  // namespace outrider
