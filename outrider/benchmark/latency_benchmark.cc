#include "outrider/benchmark/latency_benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "outrider/architectures/memory_need.h"
#include "outrider/decoding/decoder.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

GenerationParams generation_params(const LatencyBenchmarkOptions& options) {
  GenerationParams params;
  params.sampling = options.sampling;
  params.max_tokens = options.output_len;
  return params;
}

void run_once(const Decoder& decoder, std::span<const std::vector<std::uint32_t>> prompts,
              const LatencyBenchmarkOptions& options, LatencyResult* result) {
  using Clock = std::chrono::steady_clock;
  GenerationParams params = generation_params(options);
  std::vector<Generation> generations;
  generations.reserve(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    params.seed = options.seed + i;
    generations.push_back(decoder.start(prompts[i], params));
  }
  std::vector<Generation*> running;
  for (Generation& generation : generations) running.push_back(&generation);
  const auto begin = Clock::now();
  Clock::time_point prefilled;
  bool all_begun = false;
  while (!running.empty()) {
    decoder.step(running);
    const auto begun = [](const Generation& g) { return g.tokens().size() > g.prompt_tokens(); };
    if (!all_begun && std::ranges::all_of(generations, begun)) {
      all_begun = true;
      prefilled = Clock::now();
    }
    std::erase_if(running, [](const Generation* generation) { return generation->finished().has_value(); });
  }
  const auto end = Clock::now();
  if (result == nullptr) return;
  result->latencies.push_back(std::chrono::duration<double>(end - begin).count());
  result->prefills.push_back(std::chrono::duration<double>(prefilled - begin).count());
  for (const Generation& generation : generations) result->speculation += generation.counts();
}

}  // namespace

std::vector<LatencyResult> run_latency_benchmark(
    const Model& model, std::span<const std::vector<std::uint32_t>> prompts, const LatencyBenchmarkOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress) {
  std::vector<LatencyResult> results;
  std::vector<Decoder> decoders;
  for (const std::size_t batch_size : options.batch_sizes) {
    if (batch_size == 0 || batch_size > prompts.size()) {
      throw Error(fmt::format("The batch size is {}, but there are only {} prompts.", batch_size, prompts.size()));
    }
    const std::size_t longest =
        std::ranges::max(prompts.first(batch_size), {}, &std::vector<std::uint32_t>::size).size();
    const SequenceLimits limits = Generation::limits(model, longest, generation_params(options));
    for (const std::size_t k : options.num_speculative_tokens) {
      DecoderOptions decoder{options.speculative_config, options.chunk};
      decoder.speculative_config.num_speculative_tokens = k;
      results.push_back({batch_size, k, {}, {}, {}});
      decoders.emplace_back(model, decoder);
      require_memory(model, limits, decoders.back().drafter_bytes(limits), batch_size,
                     batch_size * std::min(longest, options.chunk));
    }
  }
  const std::size_t rounds = options.warmups + options.iterations;
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      run_once(decoders[i], prompts.first(results[i].batch_size), options,
               round < options.warmups ? nullptr : &results[i]);
      if (progress) progress(round * results.size() + i + 1, rounds * results.size());
    }
  }
  return results;
}

std::vector<std::vector<std::uint32_t>> excerpts(std::span<const std::uint32_t> text, std::size_t count,
                                                 std::size_t length) {
  if (length == 0 || text.size() < length) {
    throw Error(fmt::format(
        "The text has only {} tokens, but prompts of {} tokens are to be taken from it. Give a longer text or a "
        "smaller --input-len.",
        text.size(), length));
  }
  std::vector<std::vector<std::uint32_t>> out;
  const std::size_t room = text.size() - length;
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = text.subspan(count < 2 ? 0 : room * i / (count - 1), length);
    out.emplace_back(at.begin(), at.end());
  }
  return out;
}

}  // namespace outrider
