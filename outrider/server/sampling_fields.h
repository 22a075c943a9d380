#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "outrider/decoding/sampling.h"
#include "outrider/server/fields.h"

namespace outrider {

// Reads the defaults from the directory's generation_config.json (temperature, top_p, top_k, min_p,
// repetition_penalty); OpenAI's if there is none or `directory` is empty. Throws Error if it is not a JSON object or a
// value is out of range.
SamplingParams default_sampling(const std::string& directory);
// Overrides `sampling` with the values of a JSON object with those fields. Throws Error, prefixed with `where`, for
// other fields and values out of range.
void override_sampling(std::string_view json, const std::string& where, SamplingParams& sampling);

// Overrides `sampling` with a request's fields. Throws ApiError.
void read_sampling(const Fields& fields, std::uint64_t vocab_size, SamplingParams& sampling);

}  // namespace outrider
