#pragma once

#include <cstddef>

#include "outrider/model/model.h"

namespace outrider {

// Throws Error where `sequences` sequences of these limits, and passes over `tokens_a_pass` tokens, take more memory
// than is available now. Call it before they are made: memory that is promised is not there before it is used.
void require_memory(const Model& model, const SequenceLimits& limits, std::size_t sequences, std::size_t tokens_a_pass);

}  // namespace outrider
