#pragma once

#include <string>

#include "outrider/check/check.h"

namespace outrider {

// Formats the report for a terminal, at most `width` columns wide unless a word is longer. Uses colours if `colour`.
std::string report_text(const CheckReport& report, unsigned width = 100, bool colour = false, bool strict = false);

// Formats the report as JSON; docs/check-json.md describes its schema ("schema_version": 1).
std::string report_json(const CheckReport& report, bool strict = false);

// The reasons why the checkpoint is incomplete, one indented line each; for commands that refuse it.
std::string incomplete_text(const CheckReport& report);

// Formats one line per parameter: name, file, tensor, storage form; tab-separated, with a header line.
std::string parameter_map(const CheckReport& report);

}  // namespace outrider
