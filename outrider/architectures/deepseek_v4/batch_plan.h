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
  std::vector<std::size_t> wanted;  // rows that give logits

  // Appends a chunk that continues `sequence`. Throws Error, before any state is changed, where the sequence is in the
  // batch already or would exceed its max_length, and for a token id that is out of range.
  void add(const Sequence& sequence, std::span<const std::uint32_t> new_tokens, std::uint64_t vocab_size,
           LogitsWanted logits);
  // Sets the state that chunk i reads and writes: that of the layer that is run next.
  void set_state(std::size_t i, LayerState& state);

  Batch batch() const { return {chunks, tokens, positions}; }
  PassSize size() const { return {tokens.size(), wanted.size()}; }

 private:
  std::vector<const Sequence*> seen_;
};

}  // namespace outrider
