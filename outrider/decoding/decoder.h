#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "outrider/decoding/draft_policy.h"
#include "outrider/decoding/drafter.h"
#include "outrider/decoding/generation.h"
#include "outrider/decoding/speculative_config.h"

namespace outrider {

struct DecoderOptions {
  SpeculativeConfig speculative_config;
  std::size_t chunk = 512;  // maximum number of prompt tokens per step
};

// A generation to advance, and how much of its prompt the step may process.
struct StepItem {
  Generation* generation = nullptr;
  std::size_t prompt_tokens = 0;  // at least 1
};

// Generates: each step advances every generation by one pass of the model, over a part of its prompt, or over its last
// token and the draft tokens proposed to follow it.
//
// Whatever the drafter, greedy output is the same with and without speculation, and sampled output has the same
// distribution.
class Decoder {
 public:
  // Throws Error if the requested drafter cannot be created (make_drafter).
  Decoder(const Model& model, const DecoderOptions& options);
  // With an existing drafter; null: no speculation. `automatic`: up to `num_speculative_tokens`, see draft_policy.h.
  Decoder(const Model& model, std::unique_ptr<const Drafter> drafter, std::size_t num_speculative_tokens,
          std::size_t chunk, bool automatic = false);

  // A sequence, including the drafter's state, and its size in bytes. Throws Error as Model::new_sequence does.
  ProcessedSequence new_sequence(const SequenceLimits& limits) const;
  std::uint64_t sequence_bytes(const SequenceLimits& limits) const;
  std::uint64_t drafter_bytes(const SequenceLimits& limits) const;  // the drafter's share
  // Bytes that the drafter needs for a pass, besides the model's scratch memory: streams, and weights of its own.
  std::uint64_t scratch_bytes(std::size_t tokens) const;

  // Creates a generation with a new sequence. Throws Error as the constructor does.
  Generation start(std::vector<std::uint32_t> prompt, GenerationParams params) const;

  // Skips finished generations. Throws Error if the logits are not finite numbers. Without enough memory, generations
  // are advanced one by one, and one for which there is still not enough is out_of_memory(); the others are advanced.
  void step(std::span<const StepItem> items) const;
  // Processes up to DecoderOptions::chunk tokens of each prompt. Throws std::bad_alloc if a generation ran out of
  // memory.
  void step(std::span<Generation* const> generations) const;

 private:
  struct Running;

  void step_together(std::span<const StepItem> items) const;
  void draft(std::span<Running> running, std::size_t wanted, std::span<DraftBudget> budgets) const;
  void verify(std::span<Running> running) const;

  const Model& model_;
  std::unique_ptr<const Drafter> drafter_;
  std::size_t num_speculative_tokens_;
  std::unique_ptr<DraftPolicy> policy_;  // null: always num_speculative_tokens_
  std::size_t chunk_;
};

}  // namespace outrider
