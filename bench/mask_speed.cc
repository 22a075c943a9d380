// Times the cost of constrained decoding per step: masks over a vocabulary, along texts that are generated from them.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "outrider/grammar/grammar.h"
#include "outrider/grammar/masks/grammar_mask.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double microseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

constexpr const char* kSchemas[][2] = {
    {"any object", R"({"type":"object"})"},
    {"record", R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,
        "maximum":150},"kind":{"enum":["king","prophet"]},"tags":{"type":"array","items":{"type":"string"}}},
        "required":["name","age","kind","tags"]})"},
    {"maxLength 200", R"({"type":"array","items":{"type":"string","maxLength":200}})"},
    {"pattern", R"({"type":"array","items":{"type":"string","pattern":"^[a-z0-9.-]+@[a-z0-9-]+\\.[a-z]{2,6}$"}})"},
};

void time_schema(const std::string& name, const std::string& schema, const std::shared_ptr<const TokenTrie>& trie,
                 std::size_t texts, std::size_t tokens) {
  const auto begun = Clock::now();
  const auto grammar = std::make_shared<const Grammar>(Grammar::from_json_schema(ordered_json::parse(schema)));
  const double compiled = microseconds(begun);
  const auto table = std::make_shared<MaskTable>(grammar, trie);
  std::vector<double> first;
  std::vector<double> later;
  std::vector<float> logits(trie->id_limit());
  std::mt19937 random(1);
  for (std::size_t text = 0; text < texts; ++text) {
    const auto mask = make_mask(table);
    for (std::size_t i = 0; i < tokens; ++i) {
      std::ranges::fill(logits, 0.0F);
      const auto start = Clock::now();
      mask->apply(logits);
      (text == 0 ? first : later).push_back(microseconds(start));
      std::vector<TokenId> allowed;
      for (TokenId token = 0; token < logits.size(); ++token) {
        if (!std::isinf(logits[token])) allowed.push_back(token);
      }
      const TokenId token = allowed[random() % allowed.size()];
      if (token == trie->eos()) break;
      mask->advance(token);
    }
  }
  const auto line = [](std::vector<double> times) {
    std::ranges::sort(times);
    double sum = 0;
    for (const double time : times) sum += time;
    return fmt::format("{:8.1f} {:8.1f} {:8.1f}", sum / static_cast<double>(times.size()), times[times.size() / 2],
                       times[times.size() * 99 / 100]);
  };
  fmt::print("{:15} {:9.0f} {:7} | {} | {}\n", name, compiled, grammar->automaton().size(), line(first), line(later));
}

}  // namespace
}  // namespace outrider

int main(int argc, char** argv) {
  using namespace outrider;
  CLI::App app{"Times masks of constrained decoding over a tokenizer's vocabulary."};
  std::string directory;
  std::string schema;
  std::size_t texts = 20;
  std::size_t tokens = 200;
  app.add_option("directory", directory, "Directory with tokenizer.json")->required();
  app.add_option("--schema", schema, "File with an additional JSON Schema to time")->check(CLI::ExistingFile);
  app.add_option("--texts", texts, "Number of texts to generate");
  app.add_option("--tokens", tokens, "Maximum number of tokens per text");
  CLI11_PARSE(app, argc, argv);
  try {
    const Tokenizer tokenizer = Tokenizer::open(directory);
    const auto begun = Clock::now();
    const auto trie = std::make_shared<const TokenTrie>(tokenizer);
    fmt::print("{} tokens, {} nodes of the trie, built in {:.0f} ms\n", tokenizer.vocab_size(), trie->nodes().size(),
               microseconds(begun) / 1000);
    fmt::print("microseconds                                    first text                  |   texts after it\n");
    fmt::print("{:15} {:>9} {:>7} | {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8}\n", "", "compiling", "states", "mean",
               "median", "p99", "mean", "median", "p99");
    for (const auto& [name, text] : kSchemas) time_schema(name, text, trie, texts, tokens);
    if (!schema.empty()) {
      std::ifstream in(schema, std::ios::binary);
      time_schema("--schema", {std::istreambuf_iterator<char>(in), {}}, trie, texts, tokens);
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_masks: {}\n", e.what());
    return 2;
  }
  return 0;
}
