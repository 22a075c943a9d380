#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace outrider {

// Which tokens one sequence may contain, as vLLM's sampling parameters of the same names.
struct OutputRules {
  // The output has at least `min_tokens` tokens before one of `end_tokens`.
  std::uint64_t min_tokens = 0;
  std::vector<std::uint32_t> end_tokens;
  // If set, the output consists of these tokens.
  std::optional<std::vector<std::uint32_t>> allowed_token_ids;
  // Token sequences, none of them empty, that the output does not contain: the last token of one is forbidden after the
  // others.
  std::vector<std::vector<std::uint32_t>> bad_words;
  // `end` follows `tokens` tokens after the last `start`, unless it came before. Tokens of the prompt count.
  struct ThinkingBudget {
    std::uint32_t start = 0;
    std::uint32_t end = 0;
    std::uint64_t tokens = 0;
  };
  std::optional<ThinkingBudget> thinking_budget;

  bool any() const { return min_tokens != 0 || allowed_token_ids || !bad_words.empty() || thinking_budget; }
};

// Applies OutputRules to one sequence, which advances by draft tokens too.
class OutputRuleMask {
 public:
  OutputRuleMask(OutputRules rules, std::span<const std::uint32_t> prompt);

  bool any() const { return rules_.any(); }
  // Sets the logits [V] of forbidden tokens to -infinity; of all tokens, if the rules leave none. `constrained`: some
  // are -infinity already, by a TokenMask, which takes precedence over min_tokens and the thinking budget.
  void apply(std::span<float> logits, bool constrained) const;
  // advance() throws nothing after it.
  void make_room();
  void advance(std::uint32_t token);
  // Rolls back the last `tokens` tokens of the output.
  void rollback(std::size_t tokens);

 private:
  struct Generated {
    std::uint32_t token = 0;
    std::uint64_t thought = 0;  // tokens since the last start of thinking; kNotThinking outside
  };
  std::uint64_t thought() const { return output_.empty() ? thought_of_prompt_ : output_.back().thought; }
  bool thinking_is_over() const;

  OutputRules rules_;
  std::uint64_t thought_of_prompt_ = 0;
  std::vector<Generated> output_;
};

}  // namespace outrider
