#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "outrider/architectures/sequence.h"
#include "outrider/decoding/drafter.h"

namespace outrider {

// Tokens that a model has processed, with the model's and the drafter's state for them: a prompt that begins with the
// same tokens can resume from here.
//
// Between forward passes tokens().size() == sequence().length().
class ProcessedSequence {
 public:
  // Both must be empty. `drafter_state` may be null.
  explicit ProcessedSequence(Sequence sequence, std::unique_ptr<DrafterState> drafter_state = nullptr)
      : sequence_(std::move(sequence)), drafter_state_(std::move(drafter_state)) {}

  std::span<const std::uint32_t> tokens() const { return tokens_; }
  std::uint64_t max_length() const { return sequence_.max_length(); }
  DrafterState* drafter_state() { return drafter_state_.get(); }

  // For a forward pass, which appends tokens. Call keep() afterwards, or clear() if the pass failed.
  Sequence& sequence() { return sequence_; }
  // Keeps `tokens`, the first of the appended tokens, and removes the others.
  void keep(std::span<const std::uint32_t> tokens);

  // Number of tokens of `prompt` that need not be processed again: the common prefix, at most all but the prompt's last
  // token, if model and drafter can be truncated to it; otherwise 0.
  std::size_t reusable(std::span<const std::uint32_t> prompt) const;
  // Removes everything that is not reusable for `prompt`.
  void truncate_for(std::span<const std::uint32_t> prompt) { truncate(reusable(prompt)); }
  // Removes everything, whatever state a failed pass left.
  void clear() { truncate(0); }
  // After a failed pass over no more tokens than can be rolled back: removes those that were not kept.
  void drop_unkept();
  // Goes on without what the drafter has not stored of the tokens.
  void skip_drafter();

 private:
  void truncate(std::size_t length);

  Sequence sequence_;
  std::unique_ptr<DrafterState> drafter_state_;
  std::vector<std::uint32_t> tokens_;
};

}  // namespace outrider
