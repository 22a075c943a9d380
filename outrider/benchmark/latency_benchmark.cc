#include "outrider/benchmark/latency_benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "outrider/architectures/memory_need.h"
#include "outrider/benchmark/timed_drafter.h"
#include "outrider/decoding/decoder.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/util/error.h"
#include "outrider/util/seconds.h"

namespace outrider {
namespace {

GenerationParams generation_params(const LatencyBenchmarkOptions& options) {
  GenerationParams params;
  params.sampling = options.sampling;
  params.max_tokens = options.output_len;
  return params;
}

using Clock = std::chrono::steady_clock;

// The decoder of one setting, and what its drafter took so far.
struct Setting {
  Setting(const Model& model, const LatencyBenchmarkOptions& options, const SpeculativeConfig& config)
      : decoder(model, drafter(model, options, config), config.num_speculative_tokens, options.chunk,
                config.automatic) {}

  std::unique_ptr<const Drafter> drafter(const Model& model, const LatencyBenchmarkOptions& options,
                                         const SpeculativeConfig& config) {
    std::unique_ptr<const Drafter> drafter = make_drafter(model, config);
    if (drafter == nullptr || options.times == nullptr) return drafter;
    return std::make_unique<TimedDrafter>(std::move(drafter), *options.times, drafter_times);
  }

  DrafterTimes drafter_times;
  Decoder decoder;
};

// Measures decode steps.
class BreakdownTimer {
 public:
  BreakdownTimer(const OperationTimes& model, const DrafterTimes& drafter)
      : model_(model), drafter_(drafter), model_before_(model), drafter_before_(drafter) {}

  void add_to(DecodeBreakdown& breakdown) const {
    ++breakdown.steps;
    breakdown.seconds += seconds(Clock::now() - begin_);
    breakdown.drafter_seconds += drafter_.seconds - drafter_before_.seconds;
    const OperationTimes of_drafter = drafter_.operations - drafter_before_.operations;
    breakdown.drafter += of_drafter;
    breakdown.model += model_ - model_before_ - of_drafter;
  }

 private:
  const OperationTimes& model_;
  const DrafterTimes& drafter_;
  OperationTimes model_before_;
  DrafterTimes drafter_before_;
  Clock::time_point begin_ = Clock::now();
};

void run_once(const Setting& setting, std::span<const std::vector<std::uint32_t>> prompts,
              const LatencyBenchmarkOptions& options, LatencyResult* result) {
  const Decoder& decoder = setting.decoder;
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
    std::optional<BreakdownTimer> timer;
    if (all_begun && result != nullptr && options.times != nullptr)
      timer.emplace(*options.times, setting.drafter_times);
    decoder.step(running);
    if (timer) timer->add_to(result->breakdown);
    const auto begun = [](const Generation& g) { return g.tokens().size() > g.prompt_tokens(); };
    if (!all_begun && std::ranges::all_of(generations, begun)) {
      all_begun = true;
      prefilled = Clock::now();
    }
    std::erase_if(running, [](const Generation* generation) { return generation->finished().has_value(); });
  }
  const auto end = Clock::now();
  if (result == nullptr) return;
  result->latencies.push_back(seconds(end - begin));
  result->prefills.push_back(seconds(prefilled - begin));
  for (const Generation& generation : generations) result->speculation += generation.counts();
}

}  // namespace

std::vector<LatencyResult> run_latency_benchmark(
    const Model& model, std::span<const std::vector<std::uint32_t>> prompts, const LatencyBenchmarkOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress) {
  std::vector<LatencyResult> results;
  std::deque<Setting> settings;
  for (const std::size_t batch_size : options.batch_sizes) {
    if (batch_size == 0 || batch_size > prompts.size()) {
      throw Error(fmt::format("The batch size is {}, but there are only {} prompts.", batch_size, prompts.size()));
    }
    const std::size_t longest =
        std::ranges::max(prompts.first(batch_size), {}, &std::vector<std::uint32_t>::size).size();
    const SequenceLimits limits = Generation::limits(model, longest, generation_params(options));
    for (const std::size_t k : options.num_speculative_tokens) {
      results.push_back({batch_size, k, {}, {}, {}, {}});
      SpeculativeConfig config = options.speculative_config;
      config.automatic = k == kAutomatic;
      if (!config.automatic) {
        config.num_speculative_tokens = k;
      } else if (config.num_speculative_tokens == 0) {
        config.num_speculative_tokens = kAutomaticTokens;
      }
      settings.emplace_back(model, options, config);
      require_memory(model, limits, settings.back().decoder.drafter_bytes(limits), batch_size,
                     batch_size * std::min(longest, options.chunk));
    }
  }
  const std::size_t rounds = options.warmups + options.iterations;
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      run_once(settings[i], prompts.first(results[i].batch_size), options,
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
