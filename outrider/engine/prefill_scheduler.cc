#include "outrider/engine/prefill_scheduler.h"

#include <algorithm>
#include <numeric>

namespace outrider {
namespace {

// Seconds that a step may take for prompts while other requests wait for it.
constexpr double kSharedStep = 0.1;
// Rows of logits of prompts in a step. More would take memory that is not planned.
constexpr std::size_t kRowsPerStep = 64;

}  // namespace

bool PrefillScheduler::has_room(std::size_t prompt_tokens, std::span<const std::size_t> others) const {
  struct Limit {
    std::size_t steps;
    std::size_t eighths;  // of the sequences
  };
  for (const Limit& limit : {Limit{1, 4}, Limit{8, 3}, Limit{64, 2}}) {
    const std::size_t tokens = limit.steps * max_num_batched_tokens_;
    if (prompt_tokens <= tokens) return true;
    const auto longer = std::ranges::count_if(others, [&](std::size_t other) { return other > tokens; });
    if (static_cast<std::size_t>(longer) >= (max_num_seqs_ * limit.eighths + 7) / 8) return false;
  }
  return true;
}

std::vector<std::size_t> PrefillScheduler::share(std::size_t budget, std::span<const Prompt> prompts,
                                                 bool decoding) const {
  std::size_t of_short_prompts = 0;
  for (const Prompt& prompt : prompts) {
    if (prompt.left > max_num_batched_tokens_) continue;
    of_short_prompts += prompt.needs_logits ? std::min(prompt.left, kRowsPerStep) : prompt.left;
  }
  if (decoding || of_short_prompts != 0) {
    budget = std::min(budget, std::max({max_num_batched_tokens_ / 4, of_short_prompts, tokens_of_shared_step_}));
  }
  std::vector<std::size_t> shares(prompts.size());
  std::size_t rows = kRowsPerStep;
  const auto give = [&](std::size_t i, std::size_t at_most) {
    std::size_t tokens = std::min({prompts[i].left - shares[i], at_most, budget});
    if (prompts[i].needs_logits) {
      tokens = std::min(tokens, rows);
      rows -= tokens;
    }
    shares[i] += tokens;
    budget -= tokens;
  };
  if (!prompts.empty()) give(0, (budget + 3) / 4);
  std::vector<std::size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return prompts[i].left; });
  for (const std::size_t i : order) give(i, budget);
  return shares;
}

void PrefillScheduler::record(std::size_t prompt_tokens, double seconds) {
  if (prompt_tokens < max_num_batched_tokens_ / 8) return;  // other things took its time
  tokens_of_shared_step_ =
      static_cast<std::size_t>(kSharedStep * static_cast<double>(prompt_tokens) / std::max(seconds, 1e-9));
}

}  // namespace outrider
