#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "outrider/backend/backend.h"

namespace outrider {

// A copy of the output head [V, D] in 4 bits (MXFP4), for drafts. The head is most of what a draft reads, and a draft
// may be wrong: the verifier uses the head itself. Each row's highest logits are computed again from the head, so that
// the first choice is nearly always the head's own.
class NarrowHead {
 public:
  static constexpr std::size_t kCandidates = 16;  // logits per row that are exact

  // Whether a copy of `head` is narrower.
  static bool possible(const Linear& head);
  // Encodes `head`, which must outlive this, on all processors.
  explicit NarrowHead(const Linear& head);
  NarrowHead(const NarrowHead&) = delete;
  NarrowHead& operator=(const NarrowHead&) = delete;

  std::uint64_t bytes() const { return narrow_.bytes(narrow_.rows()); }

  // logits [n, V] = about W_head x; x [n, D].
  void multiply(Backend& backend, const Rows& x, Rows& logits) const;

 private:
  const Linear& head_;
  std::vector<std::vector<std::byte>> tensors_;
  Linear narrow_;
};

}  // namespace outrider
