#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "outrider/architectures/deepseek_v4/model.h"
#include "outrider/decoding/generation.h"

namespace outrider {

struct LatencyBenchmarkOptions {
  std::vector<std::size_t> batch_sizes = {1};
  std::vector<std::size_t> num_speculative_tokens = {0};
  std::size_t output_len = 128;
  std::size_t chunk = 512;  // tokens of each prompt a step
  std::size_t warmups = 1;  // of each setting, not counted
  std::size_t iterations = 5;
  SamplingParams sampling;
  std::uint64_t seed = 0;
};

// What one setting took. Times in seconds.
struct LatencyResult {
  std::size_t batch_size = 0;
  std::size_t num_speculative_tokens = 0;
  std::vector<double> latencies;  // of an iteration: from the prompts to the last token of all
  std::vector<double> prefills;   // of them, until all have their first token
  SpeculationCounts speculation;  // of all iterations
};

// Writes `output_len` tokens after each of the first `batch size` prompts, all at once, for every batch size and number
// of speculative tokens. Iterations of all settings take turns, so that whatever else the machine does meets them
// alike. Throws Error where there are fewer prompts than the largest batch, where memory does not suffice, and as
// Decoder and Generation do.
std::vector<LatencyResult> run_latency_benchmark(
    const Model& model, std::span<const std::vector<std::uint32_t>> prompts, const LatencyBenchmarkOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress);

// `count` stretches of `length` tokens, spread evenly over a text. Throws Error where it is shorter than one.
std::vector<std::vector<std::uint32_t>> stretches(std::span<const std::uint32_t> text, std::size_t count,
                                                  std::size_t length);

}  // namespace outrider
