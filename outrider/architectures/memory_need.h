#pragma once

#include <cstddef>
#include <cstdint>

#include "outrider/architectures/model.h"

namespace outrider {

// Whether `sequences` sequences with these limits and passes over `tokens_a_pass` tokens fit in the memory that is
// available now. Call this before allocating them: reserved memory is not occupied until it is used. `drafter_bytes`:
// size of a drafter's state for one sequence.
bool enough_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes, std::size_t sequences,
                   std::size_t tokens_a_pass);

// Throws Error if they do not fit.
void require_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes,
                    std::size_t sequences, std::size_t tokens_a_pass);

}  // namespace outrider
