#pragma once

#include <string_view>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The ids of a text that a model is to go on from. Begins with the beginning-of-sentence token, where the tokenizer has
// one: DeepSeek's leave writing it to whoever makes the prompt.
std::vector<TokenId> text_prompt_ids(const Tokenizer& tokenizer, std::string_view text);

// The ids of what encode_messages made, which has all of its special tokens in the text.
std::vector<TokenId> chat_prompt_ids(const Tokenizer& tokenizer, std::string_view text);

}  // namespace outrider
