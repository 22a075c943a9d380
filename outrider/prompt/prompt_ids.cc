#include "outrider/prompt/prompt_ids.h"

namespace outrider {

std::vector<TokenId> text_prompt_ids(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids = tokenizer.encode(text);
  if (tokenizer.bos_id() && (ids.empty() || ids[0] != *tokenizer.bos_id())) {
    ids.insert(ids.begin(), *tokenizer.bos_id());
  }
  return ids;
}

std::vector<TokenId> chat_prompt_ids(const Tokenizer& tokenizer, std::string_view text) {
  EncodeOptions options;
  options.add_special_tokens = false;
  return tokenizer.encode(text, options);
}

}  // namespace outrider
