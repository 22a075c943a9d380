#include "outrider/decoding/row_cost.h"

#include <algorithm>

namespace outrider {
namespace {

// A pass counts half of the one 70 passes after it.
constexpr double kDecay = 0.99;
// Variance of the rows, as a share of their mean squared, below which passes say nothing new of the cost of one.
constexpr double kLeastVariance = 0.01;

}  // namespace

void RowCost::add(std::size_t rows, double pass_seconds, std::size_t tokens, double step_seconds) {
  const auto fade = [](double& sum, double value) { sum = kDecay * sum + value; };
  const double r = static_cast<double>(rows);
  fade(sums_.passes, 1);
  fade(sums_.rows, r);
  fade(sums_.rows_squared, r * r);
  fade(sums_.seconds, pass_seconds);
  fade(sums_.rows_seconds, r * pass_seconds);
  fade(sums_.tokens, static_cast<double>(tokens));
  fade(sums_.step_seconds, step_seconds);

  const double mean_rows = sums_.rows / sums_.passes;
  const double mean_seconds = sums_.seconds / sums_.passes;
  const double variance = sums_.rows_squared / sums_.passes - mean_rows * mean_rows;
  if (variance < kLeastVariance * mean_rows * mean_rows) return;
  const double slope = (sums_.rows_seconds / sums_.passes - mean_rows * mean_seconds) / variance;
  // Chance apart, one more row costs something, and not more than the mean of all.
  row_seconds_ = std::clamp(slope, 0.0, mean_seconds / mean_rows);
}

}  // namespace outrider
