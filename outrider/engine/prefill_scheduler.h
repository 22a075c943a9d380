#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace outrider {

// Decides which prompts are processed and how many tokens of each, so that a long prompt holds up nobody else for long.
class PrefillScheduler {
 public:
  PrefillScheduler(std::size_t max_num_seqs, std::size_t max_num_batched_tokens)
      : max_num_seqs_(max_num_seqs), max_num_batched_tokens_(max_num_batched_tokens) {}

  // Whether a prompt of so many tokens may have a sequence. `others`: the lengths of the prompts that have one and are
  // not processed; without what was reused.
  //
  // Prompts of more than 1, 8 and 64 steps have at most 1/2, 3/8 and 1/4 of the sequences: more would not process them
  // sooner, and so a prompt does not wait for a sequence until one is processed that is much longer than itself.
  bool has_room(std::size_t prompt_tokens, std::span<const std::size_t> others) const;

  // A prompt that has a sequence.
  struct Prompt {
    std::size_t left = 0;       // tokens
    bool needs_logits = false;  // of each token: a step processes few of such prompts
  };
  // The next step's tokens of each prompt. `budget`: the tokens that the step has for prompts. `prompts`: in the order
  // in which their requests arrived. `decoding`: other sequences wait for the step's tokens.
  //
  // The first prompt gets a quarter at least, so that none waits forever; the rest goes to the shortest ones, so that a
  // short prompt never waits for long ones. While anybody waits beside a long prompt, the step is cut to about 0.1 s,
  // but not below the short prompts' tokens and a quarter of max_num_batched_tokens.
  std::vector<std::size_t> share(std::size_t budget, std::span<const Prompt> prompts, bool decoding) const;

  // A step with so many tokens of prompts has taken so long.
  void record(std::size_t prompt_tokens, double seconds);

 private:
  std::size_t max_num_seqs_;
  std::size_t max_num_batched_tokens_;
  // Number of prompt tokens that take about 0.1 s, estimated from the last step that processed many.
  std::size_t tokens_of_shared_step_ = 0;
};

}  // namespace outrider
