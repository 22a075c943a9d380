#pragma once

#include <string>

#include "outrider/check/check.h"

namespace outrider {

// The report for a terminal, at most `width` columns wide where words allow. Colours where `colour`.
std::string report_text(const CheckReport& report, unsigned width = 100, bool colour = false, bool strict = false);

// The report as JSON; docs/check-json.md describes its schema ("schema_version": 1).
std::string report_json(const CheckReport& report, bool strict = false);

// What keeps the checkpoint from being complete, a line each, indented; for commands that refuse it.
std::string incomplete_text(const CheckReport& report);

// One line per parameter: name, file, tensor, storage form; tab-separated, with a header line.
std::string parameter_map(const CheckReport& report);

}  // namespace outrider
