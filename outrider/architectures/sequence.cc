#include "outrider/architectures/sequence.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/util/error.h"

namespace outrider {

void Sequence::advance(std::uint64_t tokens) {
  if (tokens > limits_.max_length - length_) {
    throw Error(fmt::format("A sequence of {} tokens cannot be advanced by {}: its max_length is {}.", length_, tokens,
                            limits_.max_length));
  }
  length_ += tokens;
  furthest_ = std::max(furthest_, length_);
}

bool Sequence::can_truncate(std::uint64_t length) const {
  return length == 0 || (length <= length_ && furthest_ - length <= limits_.max_rollback);
}

void Sequence::truncate(std::uint64_t length) {
  if (length > length_) {
    throw Error(fmt::format("The sequence cannot be truncated to {} tokens: it has {}.", length, length_));
  }
  if (!can_truncate(length)) {
    throw Error(
        fmt::format("The sequence cannot be truncated to {} tokens: it has reached {}, and at most {} can be rolled "
                    "back (max_rollback).",
                    length, furthest_, limits_.max_rollback));
  }
  length_ = length;
  if (length == 0) furthest_ = 0;
}

}  // namespace outrider
