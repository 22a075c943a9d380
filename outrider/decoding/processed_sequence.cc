#include "outrider/decoding/processed_sequence.h"

#include <algorithm>

namespace outrider {

void ProcessedSequence::keep(std::span<const std::uint32_t> tokens) {
  sequence_.truncate(tokens_.size() + tokens.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void ProcessedSequence::drop_unkept() {
  sequence_.truncate(tokens_.size());
  skip_drafter();
}

void ProcessedSequence::skip_drafter() {
  if (drafter_state_ != nullptr) drafter_state_->skip_to(tokens_.size());
}

std::size_t ProcessedSequence::reusable(std::span<const std::uint32_t> prompt) const {
  if (prompt.empty()) return 0;
  const auto common = static_cast<std::size_t>(std::ranges::mismatch(tokens_, prompt).in1 - tokens_.begin());
  std::size_t length = std::min(common, prompt.size() - 1);
  if (drafter_state_ != nullptr) length = drafter_state_->reusable(length);
  return sequence_.can_truncate(length) ? length : 0;
}

void ProcessedSequence::truncate(std::size_t length) {
  tokens_.resize(length);
  sequence_.truncate(length);
  if (drafter_state_ != nullptr) drafter_state_->truncate(length);
}

}  // namespace outrider
