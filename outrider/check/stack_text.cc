#include "outrider/check/stack_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "outrider/check/context.h"

namespace outrider {

std::string numbers_text(std::span<const std::int32_t> numbers) {
  constexpr std::size_t kShown = 6;
  std::vector<std::string> runs;
  std::size_t listed = 0;  // numbers in the runs shown
  for (std::size_t i = 0; i < numbers.size() && runs.size() < kShown;) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (end - i < 3) end = i + 1;
    runs.push_back(end - i == 1 ? fmt::format("{}", numbers[i])
                                : fmt::format("{} to {}", numbers[i], numbers[end - 1]));
    listed += end - i;
    i = end;
  }
  if (listed != numbers.size()) runs.push_back(fmt::format("{} more", grouped(numbers.size() - listed)));
  std::string out;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    out += i == 0 ? "" : i + 1 == runs.size() ? " and " : ", ";
    out += runs[i];
  }
  return out;
}

std::string parts_text(std::span<const StackPart> parts, const TensorInfo& stack) {
  std::set<std::int32_t> experts;
  bool gate = false;
  bool up = false;
  for (const StackPart& part : parts) {
    experts.insert(part.expert);
    gate = gate || part.slot == Slot::kExpertW1;
    up = up || part.slot == Slot::kExpertW3;
  }
  const std::vector<std::int32_t> numbers(experts.begin(), experts.end());
  const std::string which =
      !stack.shape.empty() && numbers.size() == stack.shape[0] && numbers.size() > 1
          ? fmt::format("all {} experts", grouped(numbers.size()))
          : fmt::format("{} {}", numbers.size() == 1 ? "expert" : "experts", numbers_text(numbers));
  if (gate == up) return which;  // both halves of gate_up_proj, or down_proj
  return fmt::format("{} of {}", gate ? "gate (w1)" : "up (w3)", which);
}

}  // namespace outrider
