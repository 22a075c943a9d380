#pragma once

#include "outrider/engine/request.h"
#include "outrider/server/fields.h"
#include "outrider/server/request_defaults.h"

namespace outrider {

// Reads the fields of a request that say which tokens the output may have, and where it ends: stop, stop_token_ids,
// ignore_eos, include_stop_str_in_output, min_tokens, bad_words, allowed_token_ids, thinking_token_budget. Throws
// ApiError.
void read_output_fields(const Fields& fields, const Tokenizer& tokenizer, const RequestDefaults& defaults,
                        GenerationParams& params, TextStreamOptions& text);

}  // namespace outrider
