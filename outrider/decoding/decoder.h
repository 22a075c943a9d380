#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "outrider/decoding/generation.h"

namespace outrider {

struct DecoderOptions {
  std::size_t num_speculative_tokens = 0;  // 0: no speculation; at most kMaxSpeculativeTokens
  std::size_t chunk = 512;                 // tokens of a prompt that a step takes, at most
};

// A generation to take on, and how much of its prompt the step may take.
struct StepItem {
  Generation* generation = nullptr;
  std::size_t prompt_tokens = 0;  // at least 1
};

// Writes texts: each step takes every generation on by one pass of the model, over a part of its prompt or over its
// last token and the drafts that the MTP block made to follow it.
//
// Greedy text is the same with and without speculation, and sampled text has the same distribution.
class Decoder {
 public:
  // Throws Error where speculation is asked for and the model has no MTP block.
  Decoder(const Model& model, DecoderOptions options);

  // Generations that have finished are left alone. Throws Error where the logits are not finite numbers.
  void step(std::span<const StepItem> items) const;
  // DecoderOptions::chunk tokens of each prompt.
  void step(std::span<Generation* const> generations) const;

 private:
  void draft(std::span<const StepItem> running) const;
  void verify(std::span<const StepItem> running) const;
  void feed_prompts(std::span<const StepItem> running) const;
  void judge(Generation& generation, const Rows& logits, std::size_t first_row) const;

  const Model& model_;
  DecoderOptions options_;
};

}  // namespace outrider
