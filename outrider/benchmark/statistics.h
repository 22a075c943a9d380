#pragma once

#include <span>
#include <vector>

namespace outrider {

// As numpy computes them; 0 if there are no values.
double mean(std::span<const double> values);
double standard_deviation(std::span<const double> values);  // of the population
// Linear interpolation between the two nearest values. `percent` in [0, 100].
double percentile(std::vector<double> values, double percent);
inline double median(std::vector<double> values) {
  return percentile(std::move(values), 50);
}

}  // namespace outrider
