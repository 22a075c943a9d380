#include <string>
#include <string_view>

#include "outrider/benchmark/speculation_metrics.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any metrics are read, and metrics of others after them change nothing.
FUZZ_TARGET(speculation_metrics) {
  const auto counts = outrider::read_speculation_metrics(input);
  const auto more = outrider::read_speculation_metrics(std::string(input) + "\nother_total{a=\"b\"} 1\n");
  require(counts.has_value() == more.has_value());
  if (counts) require(counts->draft_tokens == more->draft_tokens && counts->accepted_tokens == more->accepted_tokens);
}
