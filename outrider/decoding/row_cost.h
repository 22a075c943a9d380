#pragma once

#include <cstddef>

namespace outrider {

// What one more row costs in a pass of the model, learned from passes of different numbers of rows: a linear regression
// of their seconds, older ones counting less. The passes are steps of the same number of sequences.
class RowCost {
 public:
  // A step: rows and seconds of its pass, tokens that it generated, and its seconds altogether.
  void add(std::size_t rows, double pass_seconds, std::size_t tokens, double step_seconds);

  // The number of tokens that the seconds of one more row would generate otherwise: a draft token that is less likely
  // to be accepted is not worth its row. 0 until passes have differed in rows.
  double tokens_per_row() const { return row_seconds_ * rate(); }

 private:
  double rate() const { return sums_.step_seconds == 0 ? 0 : sums_.tokens / sums_.step_seconds; }

  struct Sums {
    double passes = 0;
    double rows = 0;
    double rows_squared = 0;
    double seconds = 0;
    double rows_seconds = 0;
    double tokens = 0;
    double step_seconds = 0;
  };
  Sums sums_;
  double row_seconds_ = 0;
};

}  // namespace outrider
