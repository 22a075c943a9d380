#pragma once

#include <memory>
#include <string_view>

#include "outrider/architectures/model.h"
#include "outrider/decoding/drafter.h"
#include "outrider/decoding/speculative_config.h"
#include "outrider/manifest/manifest.h"

namespace outrider {

// A drafting method: one row of the table in drafter_methods.cc.
struct DrafterMethod {
  std::string_view name;  // "method" of --speculative-config
  DrafterKind weights;    // drafter that the checkpoint must have; kNone: none needed
  // Throws Error if the model has no such drafter.
  std::unique_ptr<const Drafter> (*make)(const Model& model, const SpeculativeConfig& config);
};

// Null if there is no such method.
const DrafterMethod* find_drafter_method(std::string_view name);
// The method for a checkpoint's drafter; null if there is no drafter, or if Outrider does not run it.
const DrafterMethod* own_drafter_method(DrafterKind weights);
// The method that `config` names, or that of a checkpoint whose drafter is `weights` if it names none; nullptr if there
// is no such method.
const DrafterMethod* drafter_method(const SpeculativeConfig& config, DrafterKind weights);

// Whether drafts are computed from weights, which may be wrong: false for lookups, and without speculation.
bool drafter_is_trained(const SpeculativeConfig& config);

// Creates the drafter of config.method, or the checkpoint's own; null if num_speculative_tokens is 0. Throws Error for
// an unknown method, and as DrafterMethod::make does.
std::unique_ptr<const Drafter> make_drafter(const Model& model, const SpeculativeConfig& config);

}  // namespace outrider
