#pragma once

#include <string>

#include "outrider/check/check.h"

namespace outrider {

// Formats the report as SARIF 2.1.0: one run, whose rules are all kinds of findings. A result's locations are the files
// that its tensors are in, relative to the checkpoint's directory (uriBaseId CHECKPOINT), or else config.json, the
// index or the first file. (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html)
std::string report_sarif(const CheckReport& report);

// A run without results, which failed with this message.
std::string failure_sarif(const std::string& message);

}  // namespace outrider
