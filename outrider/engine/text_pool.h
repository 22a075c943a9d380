#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/architectures/deepseek_v4/model.h"
#include "outrider/decoding/processed_text.h"

namespace outrider {

// The memory of all sequences, made once. What requests leave behind stays until its memory is needed: least recently
// used first.
class TextPool {
 public:
  // Throws Error where there is not that much memory.
  TextPool(const Model& model, std::size_t count, std::uint64_t max_length);

  std::size_t available() const { return texts_.size(); }
  // The text that shares the longest reusable beginning with `prompt`, at least half of it; else an empty one; else the
  // oldest. available() must not be 0.
  ProcessedText take(std::span<const std::uint32_t> prompt);
  void give_back(ProcessedText text) { texts_.push_back(std::move(text)); }

 private:
  std::vector<ProcessedText> texts_;  // oldest first
};

}  // namespace outrider
