#include "outrider/decoding/output_rules.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace outrider {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr std::uint64_t kNotThinking = std::numeric_limits<std::uint64_t>::max();

std::uint64_t thought_after(const OutputRules& rules, std::uint64_t before, std::uint32_t token) {
  if (token == rules.thinking_budget->start) return 0;
  if (token == rules.thinking_budget->end || before == kNotThinking) return kNotThinking;
  return before + 1;
}

bool allows_none(std::span<const float> logits) {
  return std::ranges::all_of(logits, [](float logit) { return logit == kForbidden; });
}

}  // namespace

OutputRuleMask::OutputRuleMask(OutputRules rules, std::span<const std::uint32_t> prompt) : rules_(std::move(rules)) {
  if (rules_.allowed_token_ids) std::ranges::sort(*rules_.allowed_token_ids);
  if (!rules_.thinking_budget) return;
  thought_of_prompt_ = kNotThinking;
  for (const std::uint32_t token : prompt) thought_of_prompt_ = thought_after(rules_, thought_of_prompt_, token);
}

bool OutputRuleMask::thinking_is_over() const {
  return rules_.thinking_budget && thought() != kNotThinking && thought() >= rules_.thinking_budget->tokens;
}

void OutputRuleMask::apply(std::span<float> logits, bool constrained) const {
  if (thinking_is_over()) {
    const std::uint32_t end = rules_.thinking_budget->end;
    // A grammar forbids the end within a character.
    if (const float logit = logits[end]; logit != kForbidden) {
      std::ranges::fill(logits, kForbidden);
      logits[end] = logit;
      return;
    }
  }
  if (rules_.allowed_token_ids) {
    const auto at = [&](std::size_t i) { return logits.begin() + static_cast<std::ptrdiff_t>(i); };
    std::size_t from = 0;
    for (const std::uint32_t token : *rules_.allowed_token_ids) {
      if (token >= from) std::fill(at(from), at(token), kForbidden);
      from = token + std::size_t{1};
    }
    std::fill(at(from), logits.end(), kForbidden);
  }
  for (const std::vector<std::uint32_t>& word : rules_.bad_words) {
    const auto prefix = std::span(word).first(word.size() - 1);
    const bool follows = prefix.size() <= output_.size() &&
                         std::ranges::equal(std::span(output_).last(prefix.size()), prefix, {}, &Generated::token);
    if (follows) logits[word.back()] = kForbidden;
  }
  if (output_.size() >= rules_.min_tokens) return;
  std::vector<float> ends;
  for (const std::uint32_t token : rules_.end_tokens) ends.push_back(std::exchange(logits[token], kForbidden));
  if (!constrained || !allows_none(logits)) return;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    float& logit = logits[rules_.end_tokens[i]];
    logit = std::max(logit, ends[i]);  // a token may be listed twice
  }
}

void OutputRuleMask::make_room() {
  if (any() && output_.size() == output_.capacity()) output_.reserve(2 * output_.size() + 8);
}

void OutputRuleMask::advance(std::uint32_t token) {
  if (!any()) return;
  output_.push_back({token, rules_.thinking_budget ? thought_after(rules_, thought(), token) : 0});
}

void OutputRuleMask::rollback(std::size_t tokens) {
  if (any()) output_.resize(output_.size() - tokens);
}

}  // namespace outrider
