#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The text of one token, with U+FFFD for incomplete code points.
std::string token_text(const Tokenizer& tokenizer, TokenId id);

// Logprobs in the format of completions: parallel lists of tokens, their logprobs, the most likely tokens, and each
// token's offset in the text (in code points).
class CompletionLogprobs {
 public:
  // `offset`: that of the first token.
  CompletionLogprobs(const Tokenizer& tokenizer, std::size_t offset) : tokenizer_(tokenizer), offset_(offset) {}

  // `logprobs` is null for the first token of a prompt, which the model does not predict.
  void add(TokenId id, const TokenLogprobs* logprobs);
  nlohmann::ordered_json take();
  std::size_t offset() const { return offset_; }

 private:
  const Tokenizer& tokenizer_;
  std::size_t offset_;
  nlohmann::ordered_json tokens_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json token_logprobs_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json top_logprobs_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json text_offset_ = nlohmann::ordered_json::array();
};

// Logprobs in the format of chats: one object per token.
nlohmann::ordered_json chat_logprob(const Tokenizer& tokenizer, const OutputToken& token);

}  // namespace outrider
