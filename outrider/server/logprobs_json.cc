#include "outrider/server/logprobs_json.h"

#include <algorithm>
#include <utility>

namespace outrider {
namespace {

using nlohmann::ordered_json;

std::size_t code_points(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

ordered_json bytes_json(std::string_view bytes) {
  ordered_json list = ordered_json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

ordered_json entry(const Tokenizer& tokenizer, TokenId id, float logprob) {
  return {{"token", token_text(tokenizer, id)}, {"logprob", logprob}, {"bytes", bytes_json(tokenizer.bytes(id))}};
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, TokenId id) {
  return tokenizer.decode(std::span(&id, 1), false);
}

void CompletionLogprobs::add(TokenId id, const TokenLogprobs* logprobs) {
  const std::string text = token_text(tokenizer_, id);
  tokens_.push_back(text);
  text_offset_.push_back(offset_);
  offset_ += code_points(text);
  if (logprobs == nullptr) {
    token_logprobs_.push_back(nullptr);
    top_logprobs_.push_back(nullptr);
    return;
  }
  token_logprobs_.push_back(logprobs->logprob);
  ordered_json top = ordered_json::object();
  for (const TokenLogprobs::Alternative& each : logprobs->top) top[token_text(tokenizer_, each.id)] = each.logprob;
  if (!top.contains(text)) top[text] = logprobs->logprob;
  top_logprobs_.push_back(std::move(top));
}

ordered_json CompletionLogprobs::take() {
  const auto empty = ordered_json::array();
  return {{"text_offset", std::exchange(text_offset_, empty)},
          {"token_logprobs", std::exchange(token_logprobs_, empty)},
          {"tokens", std::exchange(tokens_, empty)},
          {"top_logprobs", std::exchange(top_logprobs_, empty)}};
}

ordered_json chat_logprob(const Tokenizer& tokenizer, const OutputToken& token) {
  ordered_json object = entry(tokenizer, token.id, token.logprobs->logprob);
  object["top_logprobs"] = ordered_json::array();
  for (const TokenLogprobs::Alternative& each : token.logprobs->top) {
    object["top_logprobs"].push_back(entry(tokenizer, each.id, each.logprob));
  }
  return object;
}

}  // namespace outrider
