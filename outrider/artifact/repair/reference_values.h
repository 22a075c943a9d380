#pragma once

#include <optional>
#include <span>
#include <string>

#include "outrider/check/check.h"
#include "outrider/check/tensor_data.h"

namespace outrider {

// Tells whether what a reference has of a parameter may stand in for what an artifact has of it: whether both are the
// same values, apart from precision that the artifact lost. Where they are not, the artifact was trained after the
// reference, or was made of another one, and its values are the only copy.
class ReferenceValues {
 public:
  // `reference` must be complete. Both must outlive this.
  ReferenceValues(const CheckReport& ours, const CheckReport& reference);

  // Whether two tensors are equal byte for byte. False where one cannot be read.
  bool same_bytes(TensorId ours, TensorId theirs) const;

  // Why the reference's parameter `theirs` may not take the place of `own`, the artifact's tensors of the same
  // parameter (`ours`, where its model has it): a sentence. Nothing where it may. Reads all of their values.
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
