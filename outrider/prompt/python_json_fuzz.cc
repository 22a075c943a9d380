#include <string>
#include <string_view>

#include "outrider/prompt/python_json.h"
#include "outrider/testing/fuzz_target.h"

// Any JSON either fails with an Error or is written as a text that reads as the same value and is written as itself.
FUZZ_TARGET(python_json) {
  const auto value = outrider::parse_python_json(input, "fuzz");
  const std::string text = outrider::python_json(value);
  if (text.find("Infinity") != std::string::npos) return;  // 1e999: Python writes what it does not read
  const auto again = outrider::parse_python_json(text, "fuzz");
  outrider::testing::require(again == value && outrider::python_json(again) == text);
}
