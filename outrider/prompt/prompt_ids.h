#pragma once

#include <stop_token>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// Encodes a prompt of plain text. Prepends the beginning-of-sentence token if the tokenizer has one: DeepSeek's
// tokenizers leave that to the caller. `unwanted`: as in EncodeOptions.
std::vector<TokenId> text_prompt_ids(const Tokenizer& tokenizer, std::string_view text,
                                     const std::stop_token& unwanted = {});

// Encodes the output of encode_messages, which contains all of its special tokens.
std::vector<TokenId> chat_prompt_ids(const Tokenizer& tokenizer, std::string_view text,
                                     const std::stop_token& unwanted = {});

}  // namespace outrider
