#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/decoding/acceptance_guard.h"

namespace outrider {

// What acceptance a checkpoint should have: `expected` (--expect-acceptance), else what its card says, else nothing.
std::optional<AcceptanceExpectation> expected_acceptance(const CompletePlan& plan, std::optional<double> expected);

// What in the checkpoint explains that drafts are rejected, in sentences; reads values of the drafter.
std::vector<std::string> causes_of_rejection(const CompletePlan& plan);

// Adds --expect-acceptance, which goes to `rate`.
void add_expect_acceptance_option(CLI::App& command, std::optional<double>& rate);

// The guard with the causes that the checkpoint shows, which are looked for when it first speaks up.
class AcceptanceWatch {
 public:
  AcceptanceWatch(std::shared_ptr<const CompletePlan> plan, std::optional<double> expected);

  // Of the last step.
  void add(const Generation& generation);
  // Empty while all is well, else a warning of several lines, without a line feed at the end.
  std::string warning();

 private:
  std::shared_ptr<const CompletePlan> plan_;
  AcceptanceGuard guard_;
  std::vector<std::string> causes_;
};

}  // namespace outrider
