#include <string>
#include <string_view>

#include "outrider/decoding/drafter.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/decoding/speculative_config.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any --speculative-config either fails with an Error or names a method and numbers that the decoder can take.
FUZZ_TARGET(speculative_config) {
  const auto config = outrider::parse_speculative_config(input, "model", [](const std::string&) {});
  require(config.method.empty() || outrider::find_drafter_method(config.method) != nullptr);
  require(config.num_speculative_tokens >= 1 && config.num_speculative_tokens <= outrider::kMaxSpeculativeTokens);
  require(config.prompt_lookup_min >= 1 && config.prompt_lookup_min <= config.prompt_lookup_max);
}
