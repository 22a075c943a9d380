#pragma once

#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The end-of-sequence tokens of generation_config.json, config.json and the tokenizer. Throws Error if one of the files
// holds something that is not a token.
std::vector<TokenId> end_tokens(const CompletePlan& plan, const Tokenizer& tokenizer);

}  // namespace outrider
