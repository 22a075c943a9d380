#include "outrider/architectures/deepseek_v4/batch_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/util/error.h"

namespace outrider {

void BatchPlan::add(const Sequence& sequence, std::span<const std::uint32_t> new_tokens, std::uint64_t vocab_size,
                    LogitsWanted logits) {
  if (std::ranges::find(seen_, &sequence) != seen_.end()) throw Error("A sequence occurs twice in one batch.");
  seen_.push_back(&sequence);
  const std::uint64_t start = sequence.length();
  if (new_tokens.size() > sequence.max_length() - start) {
    throw Error(
        fmt::format("The sequence has {} tokens and cannot be advanced by {}: its max_length is {}. "
                    "Create it with a larger max_length.",
                    start, new_tokens.size(), sequence.max_length()));
  }
  chunks.push_back({.first_row = tokens.size(), .rows = new_tokens.size(), .start = start});
  for (std::size_t i = 0; i < new_tokens.size(); ++i) {
    if (new_tokens[i] >= vocab_size) {
      throw Error(fmt::format("Token id {} is out of range (vocab_size {}).", new_tokens[i], vocab_size));
    }
    if (logits == LogitsWanted::kAll || (logits == LogitsWanted::kLast && i + 1 == new_tokens.size())) {
      wanted.push_back(tokens.size());
    }
    tokens.push_back(new_tokens[i]);
    positions.push_back(start + i);
  }
}

void BatchPlan::set_state(std::size_t i, LayerState& state) {
  chunks[i].window = &state.window;
  chunks[i].compressor = state.compressor ? &*state.compressor : nullptr;
  chunks[i].indexer = state.indexer ? &*state.indexer : nullptr;
}

}  // namespace outrider
