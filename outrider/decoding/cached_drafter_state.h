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

// The state of a drafter that reads the model at every position into a cache of its own, of which it sees the last
// `positions_seen`.
struct CachedDrafterState : DrafterState {
  CachedDrafterState(Sequence empty, std::uint64_t positions_seen) : cache(std::move(empty)), window(positions_seen) {}

  // Copies the first `count` pending rows to rows of `to` from `row` on.
  void copy_pending(std::size_t count, Rows& to, std::size_t row) const {
    for (std::size_t r = 0; r < count; ++r) std::ranges::copy(pending[r], to[row + r].begin());
  }
  std::uint64_t first_pending() const { return observed - pending.size(); }

  std::size_t backlog() const override { return pending.size(); }
  bool ready() const override {
    const std::uint64_t from = cache.length() < first_pending() ? first_pending() : whole_from;
    return from == 0 || observed - from >= window;
  }
  // Before pending positions are stored: leaves those before them out, which are missing.
  void skip_gap() {
    if (cache.length() >= first_pending()) return;
    whole_from = first_pending();
    cache.advance(first_pending() - cache.length());
  }
  void truncate(std::size_t length) override {
    if (length < cache.length()) cache.truncate(length);
    while (!pending.empty() && observed > length) {
      pending.pop_back();
      --observed;
    }
    observed = length;
    whole_from = std::min<std::uint64_t>(whole_from, length);
  }
  void skip_to(std::size_t length) override {
    pending.clear();
    if (cache.length() > length) cache.truncate(cache.can_truncate(length) ? length : 0);
    observed = length;
  }

  Sequence cache;
  std::uint64_t window;
  std::uint64_t whole_from = 0;  // some positions before this one are missing in the cache: their rows are undefined
  std::uint64_t observed = 0;    // positions
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
