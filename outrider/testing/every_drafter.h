#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/decoding/forwarding_drafter.h"

namespace outrider::testing {

// The methods that tests of speculation run over.
inline constexpr const char* kEveryDrafter[] = {"mtp", "dspark", "ngram"};

// The variant whose model a method drafts for (tests/model/golden.h).
inline std::string model_of(const std::string& method) {
  return method == "dspark" ? "dspark" : "official";
}

// N-grams are short, so that they are found often.
inline SpeculativeConfig speculative_config(const std::string& method, std::size_t num_speculative_tokens) {
  return {.method = method,
          .num_speculative_tokens = num_speculative_tokens,
          .prompt_lookup_min = 1,
          .prompt_lookup_max = 3};
}

inline Decoder make_decoder(const Model& model, const std::string& method, std::size_t num_speculative_tokens,
                            std::size_t chunk = 512) {
  return {model, {speculative_config(method, num_speculative_tokens), chunk}};
}

// Leaves out drafts whose chance of being accepted is less than `least`.
class SparingDrafter : public ForwardingDrafter {
 public:
  SparingDrafter(std::unique_ptr<const Drafter> drafter, double least)
      : ForwardingDrafter(std::move(drafter)), least_(least) {}

  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override {
    std::vector<DraftBudget> budgets(items.size(), {chances_, AcceptanceRule::kGreedy, 0.5, least_});
    std::vector<DraftItem> sparing(items.begin(), items.end());
    for (std::size_t i = 0; i < items.size(); ++i) sparing[i].budget = &budgets[i];
    return ForwardingDrafter::draft(sparing);
  }

 private:
  DraftChances chances_;
  double least_;
};

}  // namespace outrider::testing
