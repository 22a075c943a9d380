#include "outrider/check/acceptance_causes.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/binding/plan.h"

namespace outrider {
namespace {

bool in_drafter(const Finding& finding) {
  return std::ranges::any_of(finding.tensors, [](const TensorPattern& p) {
    return p.pattern.find("mtp.") != std::string::npos ||
           std::ranges::any_of(p.examples, [](const std::string& e) { return e.find("mtp.") != std::string::npos; });
  });
}

// Findings that are a cause by themselves, and findings that are one if they concern the block's tensors.
constexpr Code kCauses[] = {Code::kMtpInitialValues, Code::kAliasDiffers, Code::kMtpWrongLayerType,
                            Code::kMtpNotAsReleased, Code::kMtpQuantised};
constexpr Code kCausesInDrafter[] = {Code::kAllZero,      Code::kNotANumber,     Code::kScalesCast,
                                     Code::kBadScale,     Code::kReferenceLost,  Code::kReferenceValues,
                                     Code::kFp32Downcast, Code::kReferenceDtype, Code::kInconsistentStorage};

}  // namespace

std::vector<std::string> acceptance_causes(const CheckReport& report) {
  std::vector<std::string> causes;
  const auto take = [&](std::span<const Code> codes, bool drafter_only) {
    for (const Code code : codes) {
      for (const Finding& f : report.findings) {
        if (f.id != code || (drafter_only && !in_drafter(f))) continue;
        causes.push_back(fmt::format("{} {}: {}", f.kind().code, f.kind().title, f.message));
      }
    }
  };
  take(kCauses, false);
  take(kCausesInDrafter, true);
  if (causes.empty()) {
    causes.emplace_back(
        report.scan
            ? "Names, shapes, forms and values of the MTP block show no fault, so it was probably trained with a "
              "different model: compare with the source, `outrider check --reference SOURCE`."
            : "Names, shapes and forms of the MTP block are correct, so its values are wrong: `outrider check --data` "
              "reads them.");
  }
  return causes;
}

}  // namespace outrider
