#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "outrider/decoding/drafter.h"
#include "outrider/util/error.h"

namespace outrider {

// The state of a drafter that reads the model at every position into a cache of its own.
struct CachedDrafterState : DrafterState {
  explicit CachedDrafterState(Sequence empty) : cache(std::move(empty)) {}

  // Copies the first `count` pending rows to rows of `to` from `row` on.
  void copy_pending(std::size_t count, Rows& to, std::size_t row) const {
    for (std::size_t r = 0; r < count; ++r) std::ranges::copy(pending[r], to[row + r].begin());
  }
  std::uint64_t first_pending() const { return observed - pending.size(); }

  std::size_t backlog() const override { return pending.size(); }
  void truncate(std::size_t length) override {
    if (length < cache.length()) cache.truncate(length);
    while (!pending.empty() && observed > length) {
      pending.pop_back();
      --observed;
    }
    observed = length;
  }
  void skip_to(std::size_t length) override {
    pending.clear();
    if (cache.length() > length) cache.truncate(cache.can_truncate(length) ? length : 0);
    cache.advance(length - cache.length());
    observed = length;
  }

  Sequence cache;
  std::uint64_t observed = 0;  // positions
  // What the model gave at the last of them, which are not in the cache yet. Positions between cache.length() and these
  // have been skipped.
  std::deque<std::vector<float>> pending;
};

// The state as the drafter that made it knows it. Throws Error if another drafter made it.
template <typename State>
State& state_of(DrafterState* state) {
  auto* const own = dynamic_cast<State*>(state);
  if (own == nullptr) {
    throw Error("The sequence has no cache of this drafter; create it with the decoder that advances it.");
  }
  return *own;
}

}  // namespace outrider
