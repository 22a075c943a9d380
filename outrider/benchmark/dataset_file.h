#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "outrider/benchmark/prompts.h"

namespace outrider {

struct DatasetOptions {
  std::size_t count = 1000;               // number of prompts; 0: all
  std::optional<std::size_t> output_len;  // overrides the file and the data set's default
  std::uint64_t seed = 0;
  bool shuffle = true;
  bool oversample = true;  // repeat prompts if there are too few
};

// Reads vLLM's "custom" data set, one JSON object per line: "prompt" (a string or token ids) and optionally
// "output_tokens", by default 256. Prompts are sent unchanged. Throws Error naming file and line.
std::vector<BenchmarkPrompt> read_custom_dataset(const std::filesystem::path& path, const DatasetOptions& options);

// Reads ShareGPT conversations as vLLM does: the first turn is the prompt, the second determines the output length;
// short and long ones (below 4 tokens, prompts over 1024, both over 2048) are skipped. Throws Error.
std::vector<BenchmarkPrompt> read_sharegpt_dataset(const std::filesystem::path& path, const DatasetOptions& options,
                                                   const TextTokens& tokens);

}  // namespace outrider
