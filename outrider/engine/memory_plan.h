#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "outrider/engine/engine.h"
#include "outrider/util/saturating.h"

namespace outrider {

// What an engine will take of the machine's memory, in bytes. Weights stay where they are mapped.
struct MemoryPlan {
  std::uint64_t max_model_len = 0;
  std::uint64_t sequence = 0;   // one, at its full length
  std::uint64_t sequences = 0;  // max_num_seqs of them
  std::uint64_t scratch = 0;    // of a step
  std::uint64_t available = 0;

  std::uint64_t total() const { return saturating_add(sequences, scratch); }
};

// Plans for the length that is wanted. Without one: the model's own context, halved until what it takes is at most half
// of what is available, so that something is left for the weights. Throws Error, saying what would fit, where it does
// not.
MemoryPlan plan_memory(const Model& model, const EngineOptions& options, std::optional<std::uint64_t> max_model_len,
                       std::uint64_t available);

}  // namespace outrider
