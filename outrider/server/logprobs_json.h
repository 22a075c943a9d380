#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The text of one token; U+FFFD for bytes that are no whole code point.
std::string token_text(const Tokenizer& tokenizer, TokenId id);

// Logprobs as completions have them: parallel lists of tokens, their logprobs, the likeliest tokens and where each
// begins in the text (in code points).
class CompletionLogprobs {
 public:
  // `offset`: where the first token begins.
  CompletionLogprobs(const Tokenizer& tokenizer, std::size_t offset) : tokenizer_(tokenizer), offset_(offset) {}

  // Null for the first token of a prompt, of which the model says nothing.
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

// Logprobs as chats have them: an object a token.
nlohmann::ordered_json chat_logprob(const Tokenizer& tokenizer, const WrittenToken& token);

}  // namespace outrider
