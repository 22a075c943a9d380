#pragma once

#include <memory>
#include <string_view>

#include "outrider/architectures/model.h"
#include "outrider/decoding/drafter.h"
#include "outrider/decoding/speculative_config.h"
#include "outrider/manifest/manifest.h"

namespace outrider {

// A way to draft: one row of the table in drafter_methods.cc.
struct DrafterMethod {
  std::string_view name;  // "method" of --speculative-config
  DrafterKind weights;    // that the checkpoint must hold; kNone: it needs none
  // Throws Error where the model has no such drafter.
  std::unique_ptr<const Drafter> (*make)(const Model& model, const SpeculativeConfig& config);
};

// Null where there is no such method.
const DrafterMethod* find_drafter_method(std::string_view name);
// The method for the drafter that a checkpoint holds; null where it holds none, or one that is not run.
const DrafterMethod* own_drafter_method(DrafterKind weights);

// Whether what is drafted comes from weights, which may be wrong: not from a lookup, nor without speculation.
bool drafter_is_trained(const SpeculativeConfig& config);

// The drafter of config.method, or the model's own; null where num_speculative_tokens is 0. Throws Error for an unknown
// method and as DrafterMethod::make does.
std::unique_ptr<const Drafter> make_drafter(const Model& model, const SpeculativeConfig& config);

}  // namespace outrider
