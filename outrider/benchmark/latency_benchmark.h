#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "outrider/architectures/model.h"
#include "outrider/backend/timed_backend.h"
#include "outrider/decoding/generation.h"
#include "outrider/decoding/speculative_config.h"

namespace outrider {

// Instead of a number of speculative tokens: as many as are fastest (draft_policy.h).
inline constexpr std::size_t kAutomatic = std::numeric_limits<std::size_t>::max();

struct LatencyBenchmarkOptions {
  std::vector<std::size_t> batch_sizes = {1};
  SpeculativeConfig speculative_config;  // how drafts are made; how many, the next says
  std::vector<std::size_t> num_speculative_tokens = {0};
  std::size_t output_len = 128;
  std::size_t chunk = 512;  // prompt tokens per step
  std::size_t warmups = 1;  // per setting, not measured
  std::size_t iterations = 5;
  SamplingParams sampling;
  std::uint64_t seed = 0;
  const OperationTimes* times = nullptr;  // the model's (ModelOptions::times); null: no breakdown
};

// The operations of decode steps, over all iterations: the model's passes and the drafter's.
struct DecodeBreakdown {
  std::size_t steps = 0;
  double seconds = 0;  // of whole steps
  double drafter_seconds = 0;
  OperationTimes model;
  OperationTimes drafter;
};

// The measurements of one setting. Times in seconds.
struct LatencyResult {
  std::size_t batch_size = 0;
  std::size_t num_speculative_tokens = 0;  // or kAutomatic
  std::vector<double> latencies;           // per iteration: from the prompts to the last token
  std::vector<double> prefills;            // per iteration: until all sequences have their first token
  SpeculationCounts speculation;           // over all iterations
  DecodeBreakdown breakdown;               // if LatencyBenchmarkOptions::times was given
};

// For every batch size and number of speculative tokens, generates `output_len` tokens from each of the first `batch
// size` prompts concurrently. The iterations of all settings are interleaved, so that disturbances of the machine
// affect all alike. Throws Error if there are fewer prompts than the largest batch or not enough memory, and as Decoder
// and Generation do.
std::vector<LatencyResult> run_latency_benchmark(
    const Model& model, std::span<const std::vector<std::uint32_t>> prompts, const LatencyBenchmarkOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress);

// `count` excerpts of `length` tokens, spread evenly over a text. Throws Error if the text is shorter than that.
std::vector<std::vector<std::uint32_t>> excerpts(std::span<const std::uint32_t> text, std::size_t count,
                                                 std::size_t length);

}  // namespace outrider
