#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/check/tensor_data.h"
#include "outrider/check/value_difference.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// A parameter that differs from the reference but has its values in another place.
struct Misplaced {
  enum class Kind {
    kTransposed,
    kGateUpSwapped,   // w1 has w3's values, or w3 w1's
    kInterleaved,     // rows of w1 and w3 alternate, `by` at a time
    kUpInterleaved,   // the same, w3's first
    kOtherParameter,  // has `from`'s values: another expert's, another projection's
    kShifted,         // row r has the values of row r + `by`
    kScaled,          // every value is multiplied by `factor`
  };
  Kind kind = Kind::kTransposed;
  ParameterId from = 0;
  std::int64_t by = 0;
  double factor = 1;
};

// Finds misplaced values. It compares sketches, the products of rows and columns with two random vectors, so that
// neither rounding to another dtype nor a few damaged rows hide a match, and memory stays small: two floats per row or
// column.
class MisplacedFinder {
 public:
  // The arguments must outlive it. `same_experts`: expert numbers mean the same on both sides.
  MisplacedFinder(const BindingReport& own, const TensorData& own_data, const BindingReport& reference,
                  const TensorData& reference_data, ThreadPool& pool)
      : own_(own), own_data_(own_data), reference_(reference), reference_data_(reference_data), pool_(pool) {}

  // Explains the parameters of one block of the model, each paired with its counterpart in the reference. The result is
  // indexed like `pairs`; nothing for values that are not the reference's.
  struct Pair {
    ParameterId own;
    ParameterId reference;
    const ValueDifference* difference;
  };
  std::vector<std::optional<Misplaced>> find(const std::vector<Pair>& pairs) const;

 private:
  struct Sketch {
    std::vector<float> rows;  // two per row
    std::vector<float> cols;  // two per column
  };
  using Sketches = std::map<ParameterId, Sketch>;

  Sketch sketch(const ParameterValues& values, std::uint64_t first_row) const;
  Sketches sketch_all(const BindingReport& binding, const TensorData& data, const std::vector<ParameterId>& ids) const;
  // The reference's parameters whose values `id` may have: the experts of the block, else parameters of its shape.
  std::vector<ParameterId> family(ParameterId id) const;
  std::optional<Misplaced> place(const Pair& pair, const Sketches& own, const Sketches& reference) const;
  std::optional<ParameterId> sibling(const BindingReport& binding, ParameterId id) const;

  const BindingReport& own_;
  const TensorData& own_data_;
  const BindingReport& reference_;
  const TensorData& reference_data_;
  ThreadPool& pool_;
};

}  // namespace outrider
