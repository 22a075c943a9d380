#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "outrider/server/fields.h"

namespace outrider {

// The JSON objects of requests.
enum class FieldPlace : std::uint8_t {
  kCompletion = 1,
  kChat = 2,
  kTokenize = 4,
  kDetokenize = 8,
  kStreamOptions = 16,
  kTemplateKwargs = 32,
  kMessage = 64,
  kThinking = 128,
};

enum class FieldTreatment { kObeyed, kIgnored, kRefused };

// One row of docs/request-fields.md.
struct RequestField {
  std::string_view name;
  unsigned places = 0;  // FieldPlace, added
  FieldTreatment treatment = FieldTreatment::kObeyed;
  std::string_view text = {};  // what it does, or why it is not obeyed (after its name)
  // Of a refused field: JSON values that are accepted, because they ask for what is done anyway.
  std::string_view accepted = {};
};

std::span<const RequestField> request_fields();

// Checks that each field of an object is known there, and not refused. Throws ApiError that names the first that is
// not.
void check_fields(const Fields& fields, FieldPlace place);

}  // namespace outrider
