#include "outrider/model/memory_need.h"

#include <fmt/format.h>

#include <limits>

#include "outrider/util/error.h"
#include "outrider/util/memory.h"

namespace outrider {
namespace {

double gib(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

}  // namespace

void require_memory(const Model& model, const SequenceLimits& limits, std::size_t sequences,
                    std::size_t tokens_a_pass) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t state = 0;
  if (__builtin_mul_overflow(model.sequence_bytes(limits), sequences, &state)) state = kMax;
  const std::uint64_t scratch = model.scratch_bytes(tokens_a_pass);
  std::uint64_t need = 0;
  if (__builtin_add_overflow(state, scratch, &need)) need = kMax;
  const std::uint64_t available = available_memory();
  if (need <= available) return;
  throw Error(fmt::format(
      "{} of up to {} tokens {} {:.2f} GiB of memory and a pass over {} tokens {:.2f} GiB, but only {:.2f} "
      "GiB are available. Ask for shorter texts, or for fewer tokens a pass.",
      sequences == 1 ? std::string("A sequence") : fmt::format("{} sequences", sequences), limits.max_length,
      sequences == 1 ? "takes" : "take", gib(state), tokens_a_pass, gib(scratch), gib(available)));
}

}  // namespace outrider
