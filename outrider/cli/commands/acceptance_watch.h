#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/decoding/acceptance_guard.h"

namespace outrider {

// The acceptance that a checkpoint should reach: `expected` (--expect-acceptance), else its model card's, else nothing.
std::optional<AcceptanceExpectation> expected_acceptance(const CompletePlan& plan, std::optional<double> expected);

// Diagnoses from the checkpoint why drafts are rejected, in sentences; reads values of the drafter.
std::vector<std::string> causes_of_rejection(const CompletePlan& plan);

// Adds --expect-acceptance, which sets `rate`.
void add_expect_acceptance_option(CLI::App& command, std::optional<double>& rate);

// The acceptance guard, with likely causes from the checkpoint, which are diagnosed on the first warning.
class AcceptanceWatch {
 public:
  AcceptanceWatch(std::shared_ptr<const CompletePlan> plan, std::optional<double> expected);

  // Adds the generation's last step.
  void add(const Generation& generation);
  // Empty while acceptance is as expected, else a warning of several lines, without a final newline.
  std::string warning();

 private:
  std::shared_ptr<const CompletePlan> plan_;
  AcceptanceGuard guard_;
  std::vector<std::string> causes_;
};

}  // namespace outrider
