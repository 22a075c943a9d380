#include <string_view>

#include "outrider/prompt/python_json.h"
#include "outrider/server/constraint.h"
#include "outrider/server/generation_request.h"
#include "outrider/testing/bundled_model.h"
#include "outrider/testing/fuzz_target.h"

using outrider::GenerationRequest;
using outrider::testing::require;

namespace {

GenerationRequest read_request(bool chat, const nlohmann::ordered_json& body) {
  outrider::RequestDefaults defaults;
  defaults.max_model_len = 512;
  const outrider::Tokenizer& tokenizer = outrider::testing::bundled_tokenizer();
  defaults.vocab_size = tokenizer.vocab_size();
  GenerationRequest request = chat ? outrider::read_chat_request(body, tokenizer, defaults)
                                   : outrider::read_completion_request(outrider::Fields(body), tokenizer, defaults);
  outrider::Constraints constraints(tokenizer);
  constraints.read(outrider::Fields(body), chat, chat && request.thinking_mode == outrider::ThinkingMode::kThinking);
  return request;
}

}  // namespace

// Any body of a request is refused with an Error, or is one that the engine can take: prompts that fit, parameters in
// range. Written again it is the same.
FUZZ_TARGET(generation_request) {
  const nlohmann::ordered_json body = outrider::parse_python_json(input, "fuzz");
  if (!body.is_object()) return;
  const bool chat = body.contains("messages");
  const GenerationRequest request = read_request(chat, body);
  require(!request.prompts.empty() && request.n >= 1 && request.n <= 128);
  for (const auto& prompt : request.prompts)
    require(!prompt.empty() && prompt.size() + request.params.max_tokens <= 512);
  outrider::validate(request.params.sampling);
  const auto again = outrider::parse_python_json(outrider::python_json(body), "fuzz");
  require(read_request(chat, again).prompts == request.prompts);
}
