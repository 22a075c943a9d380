#include "outrider/cli/commands/end_tokens.h"

#include "outrider/manifest/generation_config.h"

namespace outrider {

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
