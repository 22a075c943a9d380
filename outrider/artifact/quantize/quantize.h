#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "outrider/artifact/new_artifact.h"
#include "outrider/artifact/quantize/recipe.h"
#include "outrider/check/check.h"

namespace outrider {

struct QuantizeOptions {
  Recipe recipe;
  std::uint64_t max_shard_bytes = 5'000'000'000;
  unsigned threads = 2;
};

// The errors of a module group's weights, relative: sqrt(sum of squared errors / sum of squares).
struct GroupError {
  ModuleGroup group = ModuleGroup::kExperts;
  bool drafter = false;
  std::string form;
  std::uint64_t weights = 0;
  double mean = 0;  // over weights
  double worst = 0;
  std::string worst_name;
};

struct QuantizeResult {
  CheckReport report;
  std::vector<GroupError> errors;
  bool resumed = false;
};

// The file of an artifact that lists the error of each weight: name, form, relative error, largest error.
inline constexpr const char* kErrorFileName = "quantization_errors.tsv";

// Quantises a complete checkpoint according to a recipe, under official names, to a new directory `output`. Weights are
// decoded from any form and encoded row by row on `threads` threads; needs memory for the largest weight as stored.
// Resumes an interrupted run after the files it had finished. Throws Error; `output` does not exist then.
QuantizeResult quantize(const std::filesystem::path& source, const std::filesystem::path& output,
                        const QuantizeOptions& options, const WriteProgress& progress = {});

}  // namespace outrider
