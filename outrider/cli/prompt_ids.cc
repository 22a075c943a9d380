#include "outrider/cli/prompt_ids.h"

#include "outrider/manifest/generation_config.h"
#include "outrider/prompt/message_encoder.h"

namespace outrider {

std::vector<TokenId> chat_ids(const nlohmann::ordered_json& messages, const Tokenizer& tokenizer) {
  EncodeOptions options;
  options.add_special_tokens = false;
  return tokenizer.encode(encode_messages(messages, {}), options);
}

std::vector<TokenId> text_ids(std::string_view text, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids = tokenizer.encode(text);
  // DeepSeek's tokenizers leave writing BOS to whoever makes the prompt.
  if (tokenizer.bos_id() && (ids.empty() || ids[0] != *tokenizer.bos_id()))
    ids.insert(ids.begin(), *tokenizer.bos_id());
  return ids;
}

std::vector<TokenId> end_tokens(const CompletePlan& plan, const Tokenizer& tokenizer) {
  constexpr std::uint64_t kMaxBytes = 1 << 20;
  std::vector<TokenId> ids = eos_token_ids(plan.checkpoint().config_json(), "config.json");
  if (const auto text = plan.checkpoint().side_file("generation_config.json", kMaxBytes)) {
    const std::vector<TokenId> more = eos_token_ids(*text, "generation_config.json");
    ids.insert(ids.end(), more.begin(), more.end());
  }
  if (tokenizer.eos_id()) ids.push_back(*tokenizer.eos_id());
  return ids;
}

}  // namespace outrider
