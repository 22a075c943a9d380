#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/architectures/model.h"

namespace outrider {

// Positions over which to run an MTP block.
struct MtpItem {
  Sequence* cache = nullptr;  // the block's own, created by new_mtp_cache()
  // By position p from cache->length() on: the token at p+1, and …
  std::span<const std::uint32_t> next_tokens;
  // … the row of `streams` that holds the streams at p (the next positions are in the next rows).
  std::size_t first_row = 0;
  LogitsWanted logits = LogitsWanted::kLast;
};

// The cache of one MTP block for one sequence. Throws Error if the limits exceed the model's, or if there is not enough
// memory.
Sequence new_mtp_cache(const Model& model, const SequenceLimits& limits);
std::uint64_t mtp_cache_bytes(const Model& model, const SequenceLimits& limits);

// Makes a narrow copy of the drafter's head, of an MTP block or DSpark: see DeepseekV4Model::prepare_narrow_head().
void prepare_narrow_head(const Model& model, std::uint64_t min_bytes);
std::uint64_t narrow_head_bytes(const Model& model);  // 0 if there is none

// How run_mtp() computes logits.
enum class MtpHead {
  kOwn,
  kNarrow,  // with the copy, if there is one: for drafts
};

// Runs MTP block `block` and appends the positions to the items' caches. `streams` [rows, hc*D] are the model's at the
// items' positions or, to draft further, the block's own of the preceding position. The logits at position p predict
// the token at p+2. Throws Error as Model::forward() does, and if the model has no such block.
ForwardResult run_mtp(const Model& model, std::span<const MtpItem> items, const Rows& streams, std::size_t block = 0,
                      MtpHead head = MtpHead::kOwn);

}  // namespace outrider
