#include "outrider/decoding/acceptance_probe.h"

#include <algorithm>
#include <memory>

#include "outrider/decoding/decoder.h"

namespace outrider {

AcceptanceProbe probe_acceptance(const Model& model, std::string_view method,
                                 std::span<const std::vector<std::uint32_t>> prompts, std::uint64_t tokens) {
  constexpr std::size_t kDraftsARound = 1;
  DecoderOptions options;
  options.speculative_config.method = method;
  options.speculative_config.num_speculative_tokens = kDraftsARound;
  const Decoder decoder(model, options);
  GenerationParams params;
  params.max_tokens = tokens;
  std::vector<std::unique_ptr<Generation>> generations;
  std::vector<Generation*> running;
  for (const std::vector<std::uint32_t>& prompt : prompts) {
    generations.push_back(std::make_unique<Generation>(decoder.start(prompt, params)));
    running.push_back(generations.back().get());
  }
  AcceptanceProbe probe;
  while (std::ranges::any_of(running, [](const Generation* g) { return !g->finished(); })) {
    decoder.step(running);
    for (const Generation* g : running) probe.all.add(g->round(), kDraftsARound);
  }
  for (const auto& g : generations) probe.prompts.push_back(g->counts());
  return probe;
}

}  // namespace outrider
