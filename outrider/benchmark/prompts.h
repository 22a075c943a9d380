#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "outrider/benchmark/http_client.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// What a request of a benchmark asks for.
struct BenchmarkPrompt {
  std::variant<std::vector<TokenId>, std::string> prompt;
  std::size_t prompt_tokens = 0;  // as far as known; the server's usage counts
  std::size_t output_tokens = 0;
};

// As vLLM's random data set has them (vllm/benchmarks/datasets/random.py): lengths uniform in
// [floor(n * (1 - r)), ceil(n * (1 + r))], a prefix that all share, and ids that follow one another from a random one
// on.
struct RandomPromptOptions {
  std::size_t count = 1000;
  std::size_t input_len = 1024;
  std::size_t output_len = 128;
  std::size_t prefix_len = 0;
  double range_ratio = 0;  // [0, 1)
  std::uint64_t seed = 0;
};

// `tokens`: the ids to choose from, in ascending order. The same on every machine for the same arguments. Throws Error
// where there are none, or a prompt could be empty.
std::vector<BenchmarkPrompt> random_prompts(const RandomPromptOptions& options, std::span<const TokenId> tokens);

// All but the special ones.
std::vector<TokenId> plain_tokens(const Tokenizer& tokenizer);

// What prompts need of a tokenizer: one of this machine, or a server's.
struct TextTokens {
  std::function<std::size_t(const std::string& text)> count;
  std::function<std::string(std::span<const TokenId> ids)> text;
  std::function<std::vector<TokenId>()> plain_tokens;
};
TextTokens tokens_of(const Tokenizer& tokenizer);
// By /tokenize and /detokenize. A server does not tell its vocabulary: its plain tokens are those of all words of two
// letters and all numbers of two digits, a few hundred. The functions throw Error where it has no such endpoints.
TextTokens tokens_of(HttpClient& client, const std::string& model);

}  // namespace outrider
