#include <string_view>

#include "outrider/server/chat_prompt.h"
#include "outrider/server/sampling_fields.h"
#include "outrider/testing/fuzz_target.h"

// Any --override-generation-config and any default chat_template_kwargs either fail with an Error or are in range.
FUZZ_TARGET(request_defaults) {
  const auto [sampling, kwargs] = outrider::testing::split_at_zero(input, R"({"thinking": true})");
  outrider::testing::require(outrider::read_chat_template_kwargs(kwargs, "fuzz").is_object());
  outrider::SamplingParams params;
  outrider::override_sampling(sampling, "fuzz", params);
  outrider::validate(params);
}
