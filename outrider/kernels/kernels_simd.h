#pragma once

#include "outrider/kernels/kernels.h"

namespace outrider {

// Call these only if the CPU supports the instructions.
const Kernels& avx2_kernels();         // AVX2, FMA, F16C
const Kernels& avx512_kernels();       // AVX-512 F, BW, VL, DQ
const Kernels& avx512_bf16_kernels();  // … and BF16, VBMI

}  // namespace outrider
