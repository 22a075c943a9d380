#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "outrider/engine/request.h"
#include "outrider/server/generation_request.h"
#include "outrider/server/logprobs_json.h"
#include "outrider/server/marker_filter.h"
#include "outrider/server/message_stream.h"

namespace outrider {

// A new id such as "call-0123456789abcdef0123456789abcdef".
std::string new_id(const char* prefix);

// The output of one choice since its last event; of a response without streaming, all of it.
class Choice {
 public:
  // The arguments must outlive it. `prompt`: the tokens.
  Choice(const GenerationRequest& request, const Tokenizer& tokenizer, std::span<const TokenId> prompt);

  // Appends one step's progress. Nothing may follow the last, which has an outcome.
  void take(const Progress& progress);

  // Whether there is something to send.
  bool has_output() const;
  // Each returns what was taken since its last call.
  nlohmann::ordered_json tool_calls_json(bool with_index);
  nlohmann::ordered_json logprobs_json();
  // Adds "tokens", "token_ids" and "speculation", if they were requested.
  void add_tokens(nlohmann::ordered_json& object);

  std::string text;
  MessageStream::Delta delta;
  nlohmann::ordered_json prompt_logprobs;  // null unless requested
  bool has_logprobs = false;

  std::size_t generated = 0;
  bool begun = false;              // an event was sent
  SpeculationCounts speculation;   // so far
  std::vector<DraftRound> rounds;  // with draft tokens, if they are to be listed
  // Set at the end.
  nlohmann::ordered_json finish_reason;
  nlohmann::ordered_json stop_reason;
  std::size_t cached_tokens = 0;

 private:
  void take_prompt_logprobs(std::span<const TokenLogprobs> logprobs);
  void take_tokens(std::span<const OutputToken> tokens);
  void add(MessageStream::Delta more);
  void end(const Progress& progress);

  const GenerationRequest& request_;
  const Tokenizer& tokenizer_;
  std::span<const TokenId> prompt_;
  TokenSpelling spelling_;
  MessageStream message_;
  MarkerFilter joined_;  // GenerationRequest::joined
  CompletionLogprobs completion_logprobs_;
  nlohmann::ordered_json chat_logprobs_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json tokens_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json token_ids_ = nlohmann::ordered_json::array();
  std::size_t calls_ = 0;  // tool calls so far
};

}  // namespace outrider
