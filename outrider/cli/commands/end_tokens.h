#pragma once

#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// Tokens that end a text: generation_config.json's, config.json's, and the tokenizer's. Throws Error where one of the
// files holds none that is one.
std::vector<TokenId> end_tokens(const CompletePlan& plan, const Tokenizer& tokenizer);

}  // namespace outrider
