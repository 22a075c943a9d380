#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "outrider/benchmark/prompts.h"

namespace outrider {

struct DatasetOptions {
  std::size_t count = 1000;               // prompts wanted; 0: all there are
  std::optional<std::size_t> output_len;  // instead of what the file or the data set's default says
  std::uint64_t seed = 0;
  bool shuffle = true;
  bool oversample = true;  // take prompts again where there are too few
};

// vLLM's "custom" data set, a JSON object a line: "prompt" (a text, or token ids) and, where it is there,
// "output_tokens", else 256 tokens. Prompts are sent as they stand. Throws Error that names file and line.
std::vector<BenchmarkPrompt> read_custom_dataset(const std::filesystem::path& path, const DatasetOptions& options);

// ShareGPT's conversations, as vLLM takes them: the first turn is the prompt, the second tells how long the answer is
// to be; short and long ones (below 4 tokens, prompts over 1024, both over 2048) are left out. Throws Error.
std::vector<BenchmarkPrompt> read_sharegpt_dataset(const std::filesystem::path& path, const DatasetOptions& options,
                                                   const TextTokens& tokens);

}  // namespace outrider
