#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "outrider/decoding/drafter.h"
#include "outrider/decoding/generation.h"
#include "outrider/decoding/speculative_config.h"

namespace outrider {

struct DecoderOptions {
  SpeculativeConfig speculative_config;
  std::size_t chunk = 512;  // tokens of a prompt that a step takes, at most
};

// A generation to advance, and how much of its prompt the step may process.
struct StepItem {
  Generation* generation = nullptr;
  std::size_t prompt_tokens = 0;  // at least 1
};

// Generates: each step advances every generation by one pass of the model, over a part of its prompt or over its last
// token and the draft tokens that the drafter proposes to follow it.
//
// Greedy text is the same with and without speculation, and sampled text has the same distribution, whatever the
// drafter.
class Decoder {
 public:
  // Throws Error where the drafter that is asked for cannot be had (make_drafter).
  Decoder(const Model& model, const DecoderOptions& options);
  // With a drafter that is made already; null: no speculation.
  Decoder(const Model& model, std::unique_ptr<const Drafter> drafter, std::size_t num_speculative_tokens,
          std::size_t chunk);

  // Memory for a sequence, the drafter's state included, and its size in bytes. Throws Error as Model::new_sequence
  // does.
  ProcessedSequence new_sequence(const SequenceLimits& limits) const;
  std::uint64_t sequence_bytes(const SequenceLimits& limits) const;
  std::uint64_t drafter_bytes(const SequenceLimits& limits) const;  // of them, the drafter's
  // What the drafter wants kept of a pass beside the model's scratch memory, in bytes.
  std::uint64_t scratch_bytes(std::size_t tokens) const;

  // A generation in memory of its own. Throws Error as the constructor does.
  Generation start(std::vector<std::uint32_t> prompt, GenerationParams params) const;

  // Generations that have finished are left alone. Throws Error where the logits are not finite numbers.
  void step(std::span<const StepItem> items) const;
  // DecoderOptions::chunk tokens of each prompt.
  void step(std::span<Generation* const> generations) const;

 private:
  struct Running;

  void draft(std::span<Running> running) const;
  void verify(std::span<Running> running) const;

  const Model& model_;
  std::unique_ptr<const Drafter> drafter_;
  std::size_t num_speculative_tokens_;
  std::size_t chunk_;
};

}  // namespace outrider
