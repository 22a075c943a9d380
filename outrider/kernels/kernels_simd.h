#pragma once

#include "outrider/kernels/kernels.h"

namespace outrider {

// Call these only where the processor has the instructions.
const Kernels& avx2_kernels();    // AVX2, FMA, F16C
const Kernels& avx512_kernels();  // AVX-512 F, BW, VL, DQ

}  // namespace outrider
