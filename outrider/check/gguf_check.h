#pragma once

#include <filesystem>
#include <optional>

#include "outrider/check/check.h"

namespace outrider {

// Checks a GGUF file of an architecture that Outrider knows, by its header: metadata, tensors, completeness against the
// architecture's registry through llama.cpp's names, and what llama.cpp would refuse. Nothing is run on it, so the
// report has neither a checkpoint nor a plan. nullopt if `path` stands for no such file. Throws Error as open_gguf()
// does, and if the options ask for values.
std::optional<CheckReport> check_gguf(const std::filesystem::path& path, const CheckOptions& options = {});

}  // namespace outrider
