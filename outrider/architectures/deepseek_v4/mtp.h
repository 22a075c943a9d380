#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/architectures/model.h"

namespace outrider {

// Positions that an MTP block is run over.
struct MtpItem {
  Sequence* cache = nullptr;  // the block's own, of new_mtp_cache()
  // By position p from cache->length() on: the token at p+1, and …
  std::span<const std::uint32_t> next_tokens;
  // … the row of `streams` that holds the streams at p (the following ones follow).
  std::size_t first_row = 0;
  LogitsWanted logits = LogitsWanted::kLast;
};

// The cache of one MTP block for one sequence. Throws Error where the limits exceed the model's, or memory.
Sequence new_mtp_cache(const Model& model, const SequenceLimits& limits);
std::uint64_t mtp_cache_bytes(const Model& model, const SequenceLimits& limits);

// Runs MTP block `block` and appends the positions to the items' caches. `streams` [rows, hc*D] are the model's at the
// items' positions, or the block's own of one position before, to draft further. The logits at position p are of the
// token at p+2. Throws Error as Model::forward() does, and where the model has no such block.
ForwardResult run_mtp(const Model& model, std::span<const MtpItem> items, const Rows& streams, std::size_t block = 0);

}  // namespace outrider
