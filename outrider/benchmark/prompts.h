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

// The prompt and the output length of one benchmark request.
struct BenchmarkPrompt {
  std::variant<std::vector<TokenId>, std::string> prompt;
  std::size_t prompt_tokens = 0;  // if known; the server's usage takes precedence
  std::size_t output_tokens = 0;
};

// vLLM's random data set (vllm/benchmarks/datasets/random.py): lengths uniform in [floor(n * (1 - r)), ceil(n * (1 +
// r))], a shared prefix, and consecutive ids from a random one on.
struct RandomPromptOptions {
  std::size_t count = 1000;
  std::size_t input_len = 1024;
  std::size_t output_len = 128;
  std::size_t prefix_len = 0;
  double range_ratio = 0;  // [0, 1)
  std::uint64_t seed = 0;
};

// `tokens`: the ids to choose from, ascending. Deterministic for the same arguments, on every machine. Throws Error if
// there are no ids, or a prompt could be empty.
std::vector<BenchmarkPrompt> random_prompts(const RandomPromptOptions& options, std::span<const TokenId> tokens);

// All tokens except special ones.
std::vector<TokenId> plain_tokens(const Tokenizer& tokenizer);

// The tokenizer functions that prompts need, of a local tokenizer or of a server.
struct TextTokens {
  std::function<std::size_t(const std::string& text)> count;
  std::function<std::string(std::span<const TokenId> ids)> text;
  std::function<std::vector<TokenId>()> plain_tokens;
};
TextTokens tokens_of(const Tokenizer& tokenizer);
// Uses /tokenize and /detokenize. A server does not expose its vocabulary, so its plain tokens are those of all words
// of two letters and all numbers of two digits, a few hundred. The functions throw Error if the endpoints are missing.
TextTokens tokens_of(HttpClient& client, const std::string& model);

}  // namespace outrider
