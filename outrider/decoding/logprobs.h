#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outrider {

// What the model itself, before temperature, penalties and filters, says of a token.
struct TokenLogprobs {
  struct Alternative {
    std::uint32_t id = 0;
    float logprob = 0;
  };

  float logprob = 0;             // natural logarithm of its probability
  std::vector<Alternative> top;  // the likeliest tokens, likeliest first
};

// `logits` [V], of the position before `token`. The `top` likeliest tokens are listed, at most V.
TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::size_t top);

}  // namespace outrider
