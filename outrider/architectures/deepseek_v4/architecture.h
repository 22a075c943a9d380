#pragma once

#include "outrider/manifest/architecture.h"

namespace outrider::deepseek_v4 {

extern const Architecture kArchitecture;

}  // namespace outrider::deepseek_v4
