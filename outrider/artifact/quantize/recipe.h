#pragma once

#include <array>
#include <optional>
#include <string>

#include "outrider/manifest/parameter_spec.h"
#include "outrider/storage_forms/encode.h"

namespace outrider {

// The storage of each module group of a quantised artifact. Groups without a form are kept if they are unquantised, and
// become BF16 otherwise; so do compressor, indexer weights, router and head always, since engines expect that.
struct Recipe {
  std::string name;
  std::array<std::optional<TargetForm>, kModuleGroupCount> forms;
  bool quantise_mtp = false;  // MTP blocks like the layers; otherwise in BF16
  bool aliases = true;        // the MTP blocks' own head (F32) and embedding
  bool alias_in_float32 = true;

  std::optional<TargetForm> form_of(ModuleGroup group) const { return forms[static_cast<std::size_t>(group)]; }
};

// Reads a recipe: "w4a16-fp8", "nvfp4-fp8", "mxfp4-fp8", "fp8", "bf16", or the path of a recipe file
// (docs/quantize.md). Throws Error.
Recipe read_recipe(const std::string& name_or_path);

}  // namespace outrider
