#include <string_view>

#include "outrider/manifest/model_card.h"
#include "outrider/testing/fuzz_target.h"

// No model card is an error; an acceptance rate is one.
FUZZ_TARGET(model_card) {
  const auto rate = outrider::card_mtp_acceptance(input);
  outrider::testing::require(!rate || (*rate >= 0 && *rate <= 1));
}
