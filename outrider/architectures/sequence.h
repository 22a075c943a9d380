#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace outrider {

struct SequenceLimits {
  std::uint64_t max_length = 0;  // tokens, at most max_position_embeddings
  // Maximum number of tokens that can be rolled back, and therefore drafted at once.
  std::uint64_t max_rollback = 16;
};

// An architecture's per-layer state for one sequence.
class SequenceState {
 public:
  virtual ~SequenceState() = default;
};

// The layers' state for one sequence of tokens, indexed by position: truncating it sets its length. A sequence is used
// by one forward pass at a time.
class Sequence {
 public:
  // Created by Model::new_sequence or by a drafter. `bytes`: memory that `state` reserves.
  Sequence(SequenceLimits limits, std::uint64_t bytes, std::unique_ptr<SequenceState> state)
      : limits_(limits), bytes_(bytes), state_(std::move(state)) {}

  std::uint64_t length() const { return length_; }
  std::uint64_t max_length() const { return limits_.max_length; }
  const SequenceLimits& limits() const { return limits_; }
  std::uint64_t bytes() const { return bytes_; }
  SequenceState& state() { return *state_; }

  // Removes all tokens from position `length` on. Throws Error if `length` is more than max_rollback tokens behind the
  // furthest position reached (0 is always allowed and starts over).
  void truncate(std::uint64_t length);
  bool can_truncate(std::uint64_t length) const;

  // Appends tokens whose positions a forward pass has stored in the state. Throws Error if max_length is exceeded.
  void advance(std::uint64_t tokens);

 private:
  SequenceLimits limits_;
  std::uint64_t bytes_ = 0;
  std::uint64_t length_ = 0;
  std::uint64_t furthest_ = 0;  // positions stored since the start; their rows may have overwritten older ones
  std::unique_ptr<SequenceState> state_;
};

}  // namespace outrider
