#pragma once

#include <optional>
#include <span>
#include <string>

#include "outrider/check/check.h"
#include "outrider/check/tensor_data.h"

namespace outrider {

// Decides whether a parameter of the reference may replace the artifact's: only if both have the same values, apart
// from precision that the artifact lost. Otherwise the artifact was trained after the reference, or made from another
// one, and its values are the only copy.
class ReferenceValues {
 public:
  // `reference` must be complete. Both must outlive it.
  ReferenceValues(const CheckReport& ours, const CheckReport& reference);

  // Whether two tensors are byte-identical. False if one cannot be read.
  bool same_bytes(TensorId ours, TensorId theirs) const;

  // Why the reference's parameter `theirs` may not replace `own`, the artifact's tensors of the same parameter (`ours`,
  // if its model has it): a sentence. Nothing if it may. Reads all of their values.
  std::optional<std::string> objection(std::optional<ParameterId> ours, std::span<const TensorId> own,
                                       ParameterId theirs) const;

 private:
  std::optional<std::string> objection(std::optional<ParameterId> ours, TensorId own, ParameterId theirs,
                                       TensorId source) const;
  bool same_but_for_rounding(const TensorInfo& own, const TensorInfo& source) const;

  const CheckReport& ours_;
  const CheckReport& reference_;
  TensorData our_data_;
  TensorData their_data_;
};

}  // namespace outrider
