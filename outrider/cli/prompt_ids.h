#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The ids of a text to go on from, after the beginning-of-sentence token.
std::vector<TokenId> text_ids(std::string_view text, const Tokenizer& tokenizer);

// The ids of a conversation's prompt: see encode_messages.
std::vector<TokenId> chat_ids(const nlohmann::ordered_json& messages, const Tokenizer& tokenizer);

// Tokens that end a text: generation_config.json's, config.json's, and the tokenizer's. Throws Error where one of the
// files holds none that is one.
std::vector<TokenId> end_tokens(const CompletePlan& plan, const Tokenizer& tokenizer);

}  // namespace outrider
