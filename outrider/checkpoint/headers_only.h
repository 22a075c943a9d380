#pragma once

#include <string_view>

namespace outrider {

// Beside safetensors files that have only their headers, and zeros for tensors: what `outrider check hf://…` keeps.
inline constexpr std::string_view kHeadersOnlyMarker = "HEADERS_ONLY.txt";

}  // namespace outrider
