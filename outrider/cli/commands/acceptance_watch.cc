#include "outrider/cli/commands/acceptance_watch.h"

#include <fmt/format.h>

#include "outrider/check/acceptance_causes.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/manifest/model_card.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {

std::optional<AcceptanceExpectation> expected_acceptance(const CompletePlan& plan, std::optional<double> expected) {
  if (expected) return AcceptanceExpectation{*expected, "--expect-acceptance"};
  constexpr std::uint64_t kMaxCardBytes = 16 << 20;
  std::optional<std::string> card;
  try {
    card = plan.checkpoint().side_file("README.md", kMaxCardBytes);
  } catch (const Error& error) {
    tell("outrider: warning: {} The model card is ignored.\n", error.what());
  }
  const std::optional<double> stated = card ? card_mtp_acceptance(*card) : std::nullopt;
  if (!stated) return std::nullopt;
  return AcceptanceExpectation{*stated, "the model card"};
}

std::vector<std::string> causes_of_rejection(const CompletePlan& plan) {
  CheckOptions options;
  options.drafter_data = true;
  return acceptance_causes(check_checkpoint(plan.report().checkpoint, options));
}

void add_expect_acceptance_option(CLI::App& command, std::optional<double>& rate) {
  command
      .add_option(
          "--expect-acceptance", rate,
          "Expected acceptance rate of the MTP head's drafts; a much lower rate causes a warning; default: the model "
          "card's; n-gram drafts are not compared")
      ->check(CLI::Range(0.0, 1.0));
}

AcceptanceWatch::AcceptanceWatch(std::shared_ptr<const CompletePlan> plan, std::optional<double> expected)
    : plan_(std::move(plan)), guard_(expected_acceptance(*plan_, expected)) {}

void AcceptanceWatch::add(const Generation& generation) {
  guard_.add(generation.round(), generation.params().sampling.temperature > 0);
}

std::string AcceptanceWatch::warning() {
  if (!guard_.suspect()) return {};
  std::string warning = "outrider: warning: " + guard_.reason();
  if (guard_.only_when_sampling()) return warning;
  if (causes_.empty()) causes_ = causes_of_rejection(*plan_);
  warning += " The output stays correct; generation is only slower. Likely causes:";
  for (const std::string& cause : causes_) warning += fmt::format("\n  - {}", printable(cause, 500));
  return warning;
}

}  // namespace outrider
