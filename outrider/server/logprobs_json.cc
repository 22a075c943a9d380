#include "outrider/server/logprobs_json.h"

#include <fmt/format.h>

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

std::string spelled(const Tokenizer& tokenizer, TokenId id, TokenSpelling spelling) {
  return spelling == TokenSpelling::kId ? fmt::format("token_id:{}", id) : token_text(tokenizer, id);
}

ordered_json entry(const Tokenizer& tokenizer, TokenId id, float logprob, TokenSpelling spelling) {
  return {
      {"token", spelled(tokenizer, id, spelling)}, {"logprob", logprob}, {"bytes", bytes_json(tokenizer.bytes(id))}};
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, TokenId id) {
  return tokenizer.decode(std::span(&id, 1), false);
}

void CompletionLogprobs::add(TokenId id, const TokenLogprobs* logprobs, std::size_t most) {
  const std::string text = spelled(tokenizer_, id, spelling_);
  tokens_.push_back(text);
  text_offset_.push_back(offset_);
  offset_ += code_points(token_text(tokenizer_, id));
  if (logprobs == nullptr) {
    token_logprobs_.push_back(nullptr);
    top_logprobs_.push_back(nullptr);
    return;
  }
  token_logprobs_.push_back(logprobs->logprob);
  ordered_json top = ordered_json::object();
  for (const TokenLogprobs::Alternative& each : std::span(logprobs->top).first(std::min(most, logprobs->top.size()))) {
    top[spelled(tokenizer_, each.id, spelling_)] = each.logprob;
  }
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

ordered_json chat_logprob(const Tokenizer& tokenizer, const OutputToken& token, TokenSpelling spelling,
                          bool with_sampled) {
  ordered_json object = entry(tokenizer, token.id, token.logprobs->logprob, spelling);
  object["top_logprobs"] = ordered_json::array();
  const auto& top = token.logprobs->top;
  if (with_sampled && std::ranges::find(top, token.id, &TokenLogprobs::Alternative::id) == top.end()) {
    object["top_logprobs"].push_back(entry(tokenizer, token.id, token.logprobs->logprob, spelling));
  }
  for (const TokenLogprobs::Alternative& each : top) {
    object["top_logprobs"].push_back(entry(tokenizer, each.id, each.logprob, spelling));
  }
  return object;
}

ordered_json prompt_logprobs_json(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                                  std::span<const TokenLogprobs> logprobs, std::size_t most) {
  ordered_json list = ordered_json::array({nullptr});
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    ordered_json entries = ordered_json::object();
    const auto add = [&](TokenId id, float logprob, std::size_t rank) {
      entries[std::to_string(id)] = {
          {"logprob", logprob}, {"rank", rank}, {"decoded_token", token_text(tokenizer, id)}};
    };
    const TokenLogprobs& each = logprobs[i];
    add(prompt[i + 1], each.logprob, each.rank);
    for (std::size_t k = 0; k < std::min(most, each.top.size()); ++k) {
      if (each.top[k].id != prompt[i + 1]) add(each.top[k].id, each.top[k].logprob, k + 1);
    }
    list.push_back(std::move(entries));
  }
  return list;
}

}  // namespace outrider
