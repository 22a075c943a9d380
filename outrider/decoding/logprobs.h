#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outrider {

// The model's probability of a token, before temperature, penalties and filters.
struct TokenLogprobs {
  struct Alternative {
    std::uint32_t id = 0;
    float logprob = 0;
  };

  float logprob = 0;             // natural logarithm of its probability
  std::uint32_t rank = 0;        // 1: no token is more likely
  std::vector<Alternative> top;  // the most likely tokens, in descending order, or those that were asked for
};

// `logits` [V]: of the position before `token`. Lists the `top` most likely tokens, at most V.
TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::size_t top);
// Lists the tokens `listed` instead.
TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::span<const std::uint32_t> listed);

// The probability of the most likely token.
double highest_probability(std::span<const float> logits);

}  // namespace outrider
