#include "outrider/benchmark/prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/decoding/sampling.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

// A random number in [low, high].
std::size_t uniform(Random& random, std::size_t low, std::size_t high) {
  return low + static_cast<std::size_t>(random.uniform() * static_cast<double>(high - low + 1));
}

struct Range {
  std::size_t low = 0;
  std::size_t high = 0;
};

Range around(std::size_t length, double ratio) {
  const auto n = static_cast<double>(length);
  return {static_cast<std::size_t>(std::floor(n * (1 - ratio))), static_cast<std::size_t>(std::ceil(n * (1 + ratio)))};
}

nlohmann::json ask(HttpClient& client, const char* path, const nlohmann::json& body) {
  const HttpAnswer answer = client.post(path, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (answer.status != 200) {
    throw Error(fmt::format(
        "{}{} responded {}: {}. The prompts need a tokenizer: give the model's directory with --tokenizer DIR.",
        client.url().text(), path, answer.status, printable(answer.body)));
  }
  return parse_bounded_json(answer.body, client.url().text() + path);
}

std::vector<TokenId> tokenize(HttpClient& client, const std::string& model, const std::string& text) {
  const nlohmann::json answer =
      ask(client, "/tokenize", {{"model", model}, {"prompt", text}, {"add_special_tokens", false}});
  try {
    return answer.at("tokens").get<std::vector<TokenId>>();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("the response of {}/tokenize has no list \"tokens\".", client.url().text()));
  }
}

std::string words() {
  std::string text;
  for (char a = 'a'; a <= 'z'; ++a) {
    for (char b = 'a'; b <= 'z'; ++b) text += {' ', a, b};
  }
  for (char a = '0'; a <= '9'; ++a) {
    for (char b = '0'; b <= '9'; ++b) text += {' ', a, b};
  }
  return text;
}

}  // namespace

std::vector<BenchmarkPrompt> random_prompts(const RandomPromptOptions& options, std::span<const TokenId> tokens) {
  if (!(options.range_ratio >= 0 && options.range_ratio < 1)) {
    throw Error("The range ratio of random prompts must be at least 0 and below 1.");
  }
  if (tokens.empty()) throw Error("There are no tokens to build random prompts from.");
  const Range input = around(options.input_len, options.range_ratio);
  const Range output = around(options.output_len, options.range_ratio);
  if (options.prefix_len + input.low < 1) {
    throw Error("Random prompts could be empty. Increase the input length or reduce the range ratio.");
  }
  Random random(options.seed);
  std::vector<TokenId> prefix(options.prefix_len);
  for (TokenId& id : prefix) id = tokens[uniform(random, 0, tokens.size() - 1)];
  std::vector<BenchmarkPrompt> prompts;
  for (std::size_t i = 0; i < options.count; ++i) {
    std::vector<TokenId> ids = prefix;
    const std::size_t length = uniform(random, input.low, input.high);
    const std::size_t output_tokens =
        uniform(random, std::max<std::size_t>(output.low, 1), std::max<std::size_t>(output.high, 1));
    const std::size_t offset = uniform(random, 0, tokens.size() - 1);
    for (std::size_t j = 0; j < length; ++j) ids.push_back(tokens[(offset + i + j) % tokens.size()]);
    const std::size_t total = ids.size();
    prompts.push_back({std::move(ids), total, output_tokens});
  }
  return prompts;
}

std::vector<TokenId> plain_tokens(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokenizer.id_limit(); ++id) {
    if (tokenizer.id_to_token(id) && !tokenizer.is_special(id)) ids.push_back(id);
  }
  return ids;
}

TextTokens tokens_of(const Tokenizer& tokenizer) {
  return {[&tokenizer](const std::string& text) { return tokenizer.encode(text).size(); },
          [&tokenizer](std::span<const TokenId> ids) { return tokenizer.decode(ids, false); },
          [&tokenizer] { return plain_tokens(tokenizer); }};
}

TextTokens tokens_of(HttpClient& client, const std::string& model) {
  return {[&client, model](const std::string& text) { return tokenize(client, model, text).size(); },
          [&client, model](std::span<const TokenId> ids) {
            const nlohmann::json answer = ask(client, "/detokenize", {{"model", model}, {"tokens", ids}});
            const auto text = answer.is_object() ? answer.find("prompt") : answer.end();
            if (text == answer.end() || !text->is_string()) {
              throw Error(fmt::format("the response of {}/detokenize has no string \"prompt\".", client.url().text()));
            }
            return text->get<std::string>();
          },
          [&client, model] {
            std::vector<TokenId> ids = tokenize(client, model, words());
            std::ranges::sort(ids);
            ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
            return ids;
          }};
}

}  // namespace outrider
