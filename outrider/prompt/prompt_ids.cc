#include "outrider/prompt/prompt_ids.h"

namespace outrider {

std::vector<TokenId> text_prompt_ids(const Tokenizer& tokenizer, std::string_view text,
                                     const std::stop_token& unwanted) {
  std::vector<TokenId> ids = tokenizer.encode(text, {.unwanted = unwanted});
  if (tokenizer.bos_id() && (ids.empty() || ids[0] != *tokenizer.bos_id())) {
    ids.insert(ids.begin(), *tokenizer.bos_id());
  }
  return ids;
}

std::vector<TokenId> chat_prompt_ids(const Tokenizer& tokenizer, std::string_view text,
                                     const std::stop_token& unwanted) {
  return tokenizer.encode(text, {.add_special_tokens = false, .unwanted = unwanted});
}

}  // namespace outrider
