#include "outrider/cli/commands/generation_statistics.h"

#include <fmt/format.h>

namespace outrider {
namespace {

double rate(std::size_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

}  // namespace

std::string generation_statistics(const Generation& generation, const Model& model, std::size_t num_speculative_tokens,
                                  const GenerationTimes& times) {
  const std::size_t generated = generation.tokens().size() - generation.prompt_tokens();
  const std::size_t decoded = generated == 0 ? 0 : generated - 1;
  const std::size_t cached = generation.reused_tokens();
  std::string text = fmt::format(
      "prefill   {} tokens{}, {:.1f} tokens/s\ndecode    {} tokens, {:.1f} tokens/s, {:.2f} GB/s of weights\n",
      generation.prompt_tokens(), cached == 0 ? "" : fmt::format(" ({} cached)", cached),
      rate(generation.prompt_tokens() - cached, times.prefill_seconds), decoded, rate(decoded, times.decode_seconds),
      rate(times.decode_weight_bytes, times.decode_seconds) / 1e9);
  const SpeculationCounts& counts = generation.counts();
  if (num_speculative_tokens == 0) {
    text += "drafts    none (no speculation)\n";
  } else {
    std::string per_position;
    for (const std::uint64_t accepted : counts.accepted_per_position) {
      per_position +=
          fmt::format("{}{:.3f}", per_position.empty() ? "" : ", ",
                      counts.drafts == 0 ? 0.0 : static_cast<double>(accepted) / static_cast<double>(counts.drafts));
    }
    text += fmt::format("drafts    acceptance {:.1f}% ({} of {}), acceptance length {:.2f}, per position {}\n",
                        100 * counts.acceptance_rate(), counts.accepted_tokens, counts.draft_tokens,
                        counts.acceptance_length(), per_position.empty() ? "-" : per_position);
  }
  text += fmt::format("kernels   {}, {} numerics\n", model.backend().name(), mode_name(model.mode()));
  return text;
}

}  // namespace outrider
