#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "outrider/engine/engine.h"
#include "outrider/util/saturating.h"

namespace outrider {

// Memory that an engine will allocate, in bytes. Weights are not counted: they are memory-mapped.
struct MemoryPlan {
  std::uint64_t max_model_len = 0;
  std::uint64_t sequence = 0;   // one sequence of max_model_len tokens
  std::uint64_t sequences = 0;  // max_num_seqs of them
  std::uint64_t scratch = 0;    // per step
  std::uint64_t available = 0;

  std::uint64_t total() const { return saturating_add(sequences, scratch); }
};

// Plans for `max_model_len`, or, without it, for the model's context length, halved until the plan needs at most half
// of the available memory, so that the rest is left for the weights. Throws Error if the plan does not fit (the message
// says what would), TemporaryError if it would fit into `total`, all that there may ever be; Error if the model lacks
// the drafter.
MemoryPlan plan_memory(const Model& model, const EngineOptions& options, std::optional<std::uint64_t> max_model_len,
                       std::uint64_t available, std::uint64_t total);

}  // namespace outrider
