#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace outrider {

// Decides how many tokens of each prompt a step processes, so that a long prompt holds up nobody else for long.
class PrefillScheduler {
 public:
  explicit PrefillScheduler(std::size_t max_num_batched_tokens) : max_num_batched_tokens_(max_num_batched_tokens) {}

  // Of more than one step.
  bool is_long(std::size_t prompt_tokens) const { return prompt_tokens > max_num_batched_tokens_; }

  // The next step's tokens of each prompt. `budget`: the tokens that the step has for prompts. `left`: the tokens left
  // of the prompts, in the order in which their requests arrived. `decoding`: other sequences wait for the step's
  // tokens.
  //
  // The first prompt gets a quarter at least, so that none waits forever; the rest goes to the shortest ones, so that a
  // short prompt never waits for long ones. While anybody waits beside a long prompt, the step is cut to about 0.1 s,
  // but not below the short prompts' tokens and a quarter of max_num_batched_tokens.
  std::vector<std::size_t> share(std::size_t budget, std::span<const std::size_t> left, bool decoding) const;

  // A step with so many tokens of prompts has taken so long.
  void record(std::size_t prompt_tokens, double seconds);

 private:
  std::size_t max_num_batched_tokens_;
  // Prompt tokens for which the last step with many would have taken as long as one that others wait for may.
  std::size_t tokens_of_shared_step_ = 0;
};

}  // namespace outrider
