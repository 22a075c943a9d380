#pragma once

#include <cstdint>
#include <string>

#include "outrider/check/parameter_values.h"

namespace outrider {

// How far values differ from the values they should equal. Values that are NaN or infinite on one side count as
// different and are excluded from sums.
struct ValueDifference {
  std::uint64_t elements = 0;
  std::uint64_t different = 0;
  std::uint64_t not_finite = 0;  // of those that differ, NaN or infinite
  double squares = 0;            // sum of (a - b)^2
  double own_squares = 0;        // of a^2
  double reference_squares = 0;  // of b^2
  double product = 0;            // of a * b
  double largest = 0;            // |a - b|

  double relative() const;  // ||a - b|| / ||b||; infinite if b is zero
  double cosine() const;    // of the angle between a and b; 0 if one is zero
  void add(const ValueDifference& other);
  // "in 4,096 of 32,768 values (relative error 2.0%, largest difference 0.013)"
  std::string text() const;
};

// "2.0%", "0.0031%", "142%"
std::string percent_text(double share);

// The error that a value may have without counting as different: the error of rounding.
struct Tolerance {
  double relative = 0;
  double absolute = 0;
};

// Both must have the same number of elements.
ValueDifference compare_values(const ParameterValues& own, const ParameterValues& reference, Tolerance tolerance = {});
// Row by row, for parameters in different forms: rounding keeps each row near the reference's.
struct RowsDifference {
  ValueDifference all;
  std::uint64_t off = 0;    // rows that differ by more than `bound` of their size
  std::uint64_t first = 0;  // the first of these
};
RowsDifference compare_rows(const ParameterValues& own, const ParameterValues& reference, double bound);

}  // namespace outrider
