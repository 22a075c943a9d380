#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The text of one token, with U+FFFD for incomplete code points.
std::string token_text(const Tokenizer& tokenizer, TokenId id);

// How a token is spelled in logprobs: its text, or as "token_id:N", which tells all tokens apart.
enum class TokenSpelling : std::uint8_t { kText, kId };

// Logprobs in the format of completions: parallel lists of tokens, their logprobs, the most likely tokens, and each
// token's offset in the text (in code points).
class CompletionLogprobs {
 public:
  // `offset`: that of the first token.
  CompletionLogprobs(const Tokenizer& tokenizer, std::size_t offset, TokenSpelling spelling = TokenSpelling::kText)
      : tokenizer_(tokenizer), spelling_(spelling), offset_(offset) {}

  // `logprobs` is null for the first token of a prompt, which the model does not predict.
  // At most `most` of the alternatives are listed.
  void add(TokenId id, const TokenLogprobs* logprobs, std::size_t most = SIZE_MAX);
  nlohmann::ordered_json take();
  std::size_t offset() const { return offset_; }

 private:
  const Tokenizer& tokenizer_;
  TokenSpelling spelling_;
  std::size_t offset_;
  nlohmann::ordered_json tokens_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json token_logprobs_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json top_logprobs_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json text_offset_ = nlohmann::ordered_json::array();
};

// Logprobs in the format of chats: one object per token. `with_sampled`: its top_logprobs have the token itself, too.
nlohmann::ordered_json chat_logprob(const Tokenizer& tokenizer, const OutputToken& token, TokenSpelling spelling,
                                    bool with_sampled);

// A prompt's logprobs as vLLM returns them: null for the first token, then one object for each with an entry by id for
// it and for the `most` most likely tokens. `logprobs`: of all but the first.
nlohmann::ordered_json prompt_logprobs_json(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                                            std::span<const TokenLogprobs> logprobs, std::size_t most);

}  // namespace outrider
