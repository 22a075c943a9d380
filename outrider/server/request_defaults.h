#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "outrider/decoding/sampling.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The server's defaults for fields that a request does not set, and the limits of their values.
struct RequestDefaults {
  SamplingParams sampling;  // from generation_config.json
  std::uint64_t max_model_len = 0;
  std::uint64_t vocab_size = 0;     // of the model; token ids are below it
  std::vector<TokenId> end_tokens;  // that end the output, unless ignore_eos is set
  EncodingRelease encoding = EncodingRelease::kPreview;
  nlohmann::ordered_json chat_template_kwargs =
      nlohmann::ordered_json::object();  // of chats; a request's own take precedence
};

}  // namespace outrider
