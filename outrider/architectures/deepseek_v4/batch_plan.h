#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/architectures/deepseek_v4/layer_states.h"
#include "outrider/architectures/model.h"
#include "outrider/backend/backend.h"

namespace outrider {

// The rows of one forward pass.
struct BatchPlan {
  std::vector<Chunk> chunks;
  std::vector<std::uint32_t> tokens;
  std::vector<std::uint64_t> positions;
  std::vector<std::size_t> wanted;  // rows whose logits are computed

  // Appends a chunk that continues `sequence`. Throws Error, before any state changes, if the sequence is already in
  // the batch or would exceed its max_length, or if a token id is out of range.
  void add(const Sequence& sequence, std::span<const std::uint32_t> new_tokens, std::uint64_t vocab_size,
           LogitsWanted logits);
  // Sets the state that chunk i reads and writes to that of the layer that runs next.
  void set_state(std::size_t i, LayerState& state);

  Batch batch() const { return {chunks, tokens, positions}; }
  PassSize size() const { return {tokens.size(), wanted.size()}; }

 private:
  std::vector<const Sequence*> seen_;
};

}  // namespace outrider
