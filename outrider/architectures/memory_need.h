#pragma once

#include <cstddef>
#include <cstdint>

#include "outrider/architectures/model.h"

namespace outrider {

// Whether `sequences` sequences of these limits, and passes over `tokens_a_pass` tokens, take no more memory than is
// available now. To be asked before they are made: memory that is promised is not there before it is used.
// `drafter_bytes`: what a drafter remembers of a sequence.
bool enough_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes, std::size_t sequences,
                   std::size_t tokens_a_pass);

// Throws Error where they take more.
void require_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes,
                    std::size_t sequences, std::size_t tokens_a_pass);

}  // namespace outrider
