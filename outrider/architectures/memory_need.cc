#include "outrider/architectures/memory_need.h"

#include <fmt/format.h>

#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/memory.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

struct Need {
  std::uint64_t state = 0;
  std::uint64_t scratch = 0;
  bool fits(std::uint64_t available) const { return saturating_add(state, scratch) <= available; }
};

Need need(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes, std::size_t sequences,
          std::size_t tokens_a_pass) {
  const PassSize pass{tokens_a_pass, sequences};
  return {saturating_multiply(saturating_add(model.sequence_bytes(limits), drafter_bytes), sequences),
          saturating_add(model.scratch_bytes(pass), model.result_bytes(pass))};
}

}  // namespace

bool enough_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes, std::size_t sequences,
                   std::size_t tokens_a_pass) {
  return need(model, limits, drafter_bytes, sequences, tokens_a_pass).fits(available_memory());
}

void require_memory(const Model& model, const SequenceLimits& limits, std::uint64_t drafter_bytes,
                    std::size_t sequences, std::size_t tokens_a_pass) {
  const Need wanted = need(model, limits, drafter_bytes, sequences, tokens_a_pass);
  const std::uint64_t available = available_memory();
  if (wanted.fits(available)) return;
  throw Error(fmt::format(
      "{} of up to {} tokens {} {} of memory and a pass over {} tokens {}, but only {} are available. Request shorter "
      "sequences or fewer tokens per pass.",
      sequences == 1 ? std::string("A sequence") : fmt::format("{} sequences", sequences), limits.max_length,
      sequences == 1 ? "needs" : "need", bytes_text(wanted.state), tokens_a_pass, bytes_text(wanted.scratch),
      bytes_text(available)));
}

}  // namespace outrider
