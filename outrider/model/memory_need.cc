#include "outrider/model/memory_need.h"

#include <fmt/format.h>

#include "outrider/util/error.h"
#include "outrider/util/memory.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

double gib(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

void require_memory(const Model& model, const SequenceLimits& limits, std::size_t sequences,
                    std::size_t tokens_a_pass) {
  const std::uint64_t state = saturating_multiply(model.sequence_bytes(limits), sequences);
  const std::uint64_t scratch = model.scratch_bytes(tokens_a_pass);
  const std::uint64_t available = available_memory();
  if (saturating_add(state, scratch) <= available) return;
  throw Error(fmt::format(
      "{} of up to {} tokens {} {:.2f} GiB of memory and a pass over {} tokens {:.2f} GiB, but only {:.2f} "
      "GiB are available. Ask for shorter texts, or for fewer tokens a pass.",
      sequences == 1 ? std::string("A sequence") : fmt::format("{} sequences", sequences), limits.max_length,
      sequences == 1 ? "takes" : "take", gib(state), tokens_a_pass, gib(scratch), gib(available)));
}

}  // namespace outrider
