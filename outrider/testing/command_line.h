#pragma once

#include <string>

// Words of shell command lines, quoted.
namespace outrider::testing {

inline const std::string kBinary = "'" OUTRIDER_BINARY "'";
inline const std::string kModel = "'" OUTRIDER_SOURCE_DIR "/models/deepseek-v4-kjv'";

}  // namespace outrider::testing
