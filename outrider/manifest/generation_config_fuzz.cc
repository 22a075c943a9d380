#include <nlohmann/json.hpp>
#include <string_view>

#include "outrider/manifest/generation_config.h"
#include "outrider/testing/fuzz_target.h"

// Any generation_config.json either fails with an Error or yields ids that, written again, are read as the same.
FUZZ_TARGET(generation_config) {
  const auto ids = outrider::eos_token_ids(input, "fuzz");
  const nlohmann::json again = {{"eos_token_id", ids}};
  outrider::testing::require(outrider::eos_token_ids(again.dump(), "fuzz") == ids);
}
