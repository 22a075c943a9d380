#include "outrider/decoding/drafter_methods.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/decoding/dspark_drafter.h"
#include "outrider/decoding/mtp_drafter.h"
#include "outrider/decoding/ngram_drafter.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr DrafterMethod kMethods[] = {
    {"mtp", DrafterKind::kMtp,
     [](const Model& model, const SpeculativeConfig&) -> std::unique_ptr<const Drafter> {
       return std::make_unique<MtpDrafter>(model);
     }},
    {"dspark", DrafterKind::kDspark,
     [](const Model& model, const SpeculativeConfig&) -> std::unique_ptr<const Drafter> {
       return std::make_unique<DsparkDrafter>(model, MtpDrafter::kNarrowHeadFrom);
     }},
    {"ngram", DrafterKind::kNone,
     [](const Model&, const SpeculativeConfig& config) -> std::unique_ptr<const Drafter> {
       return std::make_unique<NgramDrafter>(NgramLengths{config.prompt_lookup_min, config.prompt_lookup_max});
     }},
};

}  // namespace

const DrafterMethod* find_drafter_method(std::string_view name) {
  const auto* const found = std::ranges::find(kMethods, name, &DrafterMethod::name);
  return found == std::end(kMethods) ? nullptr : found;
}

const DrafterMethod* own_drafter_method(DrafterKind weights) {
  if (weights == DrafterKind::kNone) return nullptr;
  const auto* const found = std::ranges::find(kMethods, weights, &DrafterMethod::weights);
  return found == std::end(kMethods) ? nullptr : found;
}

const DrafterMethod* drafter_method(const SpeculativeConfig& config, DrafterKind weights) {
  return config.method.empty() ? own_drafter_method(weights) : find_drafter_method(config.method);
}

bool drafter_is_trained(const SpeculativeConfig& config) {
  if (config.num_speculative_tokens == 0) return false;
  const DrafterMethod* const method = find_drafter_method(config.method);
  return config.method.empty() || (method != nullptr && method->weights != DrafterKind::kNone);
}

std::unique_ptr<const Drafter> make_drafter(const Model& model, const SpeculativeConfig& config) {
  if (config.num_speculative_tokens == 0) return nullptr;
  const DrafterMethod* const method = drafter_method(config, model.manifest().drafter());
  if (method == nullptr) {
    throw Error(config.method.empty() ? "The checkpoint has no drafter for speculative decoding."
                                      : fmt::format("There is no drafter method \"{}\".", config.method));
  }
  return method->make(model, config);
}

}  // namespace outrider
