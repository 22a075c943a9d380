#pragma once

#include <cstddef>
#include <span>

#include "outrider/backend/backend.h"
#include "outrider/backend/cpu/compute.h"

namespace outrider {

// Rounds one vector like keys in official numerics; a no-op in exact numerics. The last `rotated` values are rotated.
inline void round_key(const Compute& compute, KeyRounding rounding, std::size_t rotated, std::span<float> x) {
  if (!compute.rounds()) return;
  if (rounding == KeyRounding::kFp4) {
    hadamard(x);
    compute.round(x);
    round_through_fp4(x, kIndexBlock);
  } else {
    compute.kernels.round_fp8(x.data(), x.size() - rotated, kKeyBlock);
  }
}

}  // namespace outrider
