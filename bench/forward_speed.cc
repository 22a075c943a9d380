// Times passes of a model whose layers have DeepSeek-V4-Flash's sizes, with random weights and as many layers and
// experts as fit into memory, and extrapolates to all 43 layers.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/benchmark/plain_read.h"
#include "outrider/binding/open_plan.h"
#include "outrider/util/error.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
using Tokens = std::vector<std::uint32_t>;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One layer of each kind in V4-Flash.
std::string small_config(unsigned experts) {
  ordered_json config = ordered_json::parse(synthetic::config_json("flash", synthetic::Family::kOfficial));
  config["num_hidden_layers"] = 3;
  config["compress_ratios"] = {0, 4, 128, 0};
  config["num_hash_layers"] = 1;
  config["n_routed_experts"] = experts;
  return config.dump(2);
}

std::size_t layers_like(const ModelConfig& config, const LayerAttention& attention) {
  return static_cast<std::size_t>(std::count_if(config.layers.begin(), config.layers.end(), [&](const auto& layer) {
    return layer.type == attention.type && layer.compress_ratio == attention.compress_ratio;
  }));
}

// Timings of one part of passes.
class Part {
 public:
  void add(double seconds, std::uint64_t bytes) {
    seconds_.push_back(seconds);
    bytes_ += bytes;
  }
  double seconds() const {  // median
    std::vector<double> sorted = seconds_;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double bytes() const { return static_cast<double>(bytes_) / static_cast<double>(seconds_.size()); }  // of weights

 private:
  std::vector<double> seconds_;
  std::uint64_t bytes_ = 0;
};

struct Sum {
  double seconds = 0;
  double bytes = 0;
  void add(const Part& part, std::size_t times = 1) {
    seconds += part.seconds() * static_cast<double>(times);
    bytes += part.bytes() * static_cast<double>(times);
  }
  double speed() const { return bytes / seconds * 1e-9; }  // GB/s
};

// Passes over the same number of tokens.
struct Passes {
  std::vector<Part> layers;
  Part head;  // the embedding is counted with the first layer

  void run(const Model& model, Sequence& sequence, const Tokens& tokens) {
    layers.resize(model.config().layers.size());
    const ForwardItem item{&sequence, tokens, LogitsWanted::kAll};
    auto last = Clock::now();
    std::uint64_t bytes = model.weight_bytes_read();
    const auto add_to = [&](Part& part) {
      part.add(since(last), model.weight_bytes_read() - bytes);
      bytes = model.weight_bytes_read();
      last = Clock::now();
    };
    model.forward({&item, 1}, [&](std::size_t layer, const Rows&) { add_to(layers[layer]); });
    add_to(head);
  }

  Sum measured() const {
    Sum sum;
    for (const Part& layer : layers) sum.add(layer);
    sum.add(head);
    return sum;
  }
  Sum of_whole(const ModelConfig& here, const ModelConfig& whole) const {
    Sum sum;
    for (std::size_t l = 0; l < layers.size(); ++l) sum.add(layers[l], layers_like(whole, here.layers[l]));
    sum.add(head);
    return sum;
  }
};

Tokens some_tokens(std::size_t count, std::uint64_t vocab_size, std::uint32_t& state) {
  Tokens tokens(count);
  for (std::uint32_t& token : tokens) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<std::uint32_t>((state >> 8) % vocab_size);
  }
  return tokens;
}

// Answers lines of standard input, for compare_llama_cpp.py and plot_context.py: "run N" runs a pass over N tokens, and
// prints its seconds; "reset" begins a new sequence.
void answer_lines(const Model& model, std::size_t context) {
  Sequence sequence = model.new_sequence({context, 16});
  std::uint32_t state = 1;
  fmt::print("ready\n");
  std::fflush(stdout);
  for (std::string word; std::cin >> word;) {
    if (word == "reset") {
      sequence.truncate(0);
      fmt::print("done\n");
    } else {
      std::size_t count = 0;
      std::cin >> count;
      const Tokens tokens = some_tokens(count, model.config().vocab_size, state);
      const ForwardItem item{&sequence, tokens, count <= 8 ? LogitsWanted::kAll : LogitsWanted::kLast};
      const auto start = Clock::now();
      model.forward({&item, 1});
      fmt::print("{}\n", since(start));
    }
    std::fflush(stdout);
  }
}

void run(const std::filesystem::path& directory, unsigned experts, unsigned threads, std::size_t passes,
         std::size_t prefill, NumericMode mode, std::size_t interactive_context) {
  const std::string config = small_config(experts);
  if (!std::filesystem::exists(directory / "model.safetensors.index.json")) {
    fmt::print(stderr, "Writing {} (random weights; some minutes)\n", directory.string());
    synthetic::write_checkpoint(directory, synthetic::tensor_list(read_config(config).config, {}), config, false);
  }
  const ModelConfig whole = read_config(synthetic::config_json("flash", synthetic::Family::kOfficial)).config;
  ModelOptions options;
  options.threads = threads;
  options.mode = mode;
  const auto weights = std::make_shared<const Weights>(open_plan(directory));
  const auto made = make_model(weights, options);
  const Model& model = *made;
  const ModelConfig& here = model.config();
  if (here.hidden_size != whole.hidden_size || here.layers.size() != 3) {
    throw Error(fmt::format("{} is not a checkpoint written by this program; remove it.", directory.string()));
  }
  if (interactive_context != 0) return answer_lines(model, interactive_context);
  Sequence sequence = model.new_sequence({4096, 16});
  Sequence mtp = new_mtp_cache(model, {4096, 16});
  std::uint32_t state = 1;
  const auto tokens = [&](std::size_t count) { return some_tokens(count, here.vocab_size, state); };

  // Warmup passes, which map the pages.
  for (std::size_t i = 0; i < 2; ++i) {
    Passes().run(model, sequence, tokens(prefill));
    sequence.truncate(0);
  }
  Passes prompt;
  prompt.run(model, sequence, tokens(prefill));
  std::map<std::size_t, Passes> decode;
  Part draft;
  Rows streams(1, here.hc_mult * here.hidden_size);
  for (float& v : streams[0]) v = 1.0F;
  for (std::size_t i = 0; i < passes; ++i) {
    for (const std::size_t count : {1, 2, 4}) decode[count].run(model, sequence, tokens(count));
    const Tokens next = tokens(1);
    const MtpItem item{&mtp, next, 0, LogitsWanted::kLast};
    const auto start = Clock::now();
    const std::uint64_t before = model.weight_bytes_read();
    run_mtp(model, {&item, 1}, streams);
    draft.add(since(start), model.weight_bytes_read() - before);
  }

  ThreadPool pool(threads);
  const ParameterId head = *weights->plan().manifest().find({}, Slot::kHead);
  const double read = plain_read_speed(weights->bytes(head), pool, 3);
  fmt::print("V4-Flash's sizes, {} layers, {} experts, {} kernels, {} threads; medians of {} passes\n",
             here.layers.size(), here.n_routed_experts, model.backend().name(), threads, passes);
  fmt::print("Plain read of the head's memory: {:.1f} GB/s\n\n", read);
  fmt::print("{:32}{:>18}{:>18}{:>18}\n", "ms and GB/s of weights", "1 token", "2 tokens", "4 tokens");
  const auto print_row = [&](const std::string& name, const auto& part) {
    fmt::print("{:32}", name);
    for (const std::size_t count : {1, 2, 4}) {
      Sum sum;
      sum.add(part(decode[count]));
      fmt::print("{:>10.2f}{:>8.1f}", 1e3 * sum.seconds, sum.speed());
    }
    fmt::print("\n");
  };
  for (std::size_t l = 0; l < here.layers.size(); ++l) {
    print_row(fmt::format("layer with compress_ratio {}", here.layers[l].compress_ratio),
              [&](const Passes& p) -> const Part& { return p.layers[l]; });
  }
  print_row("head", [](const Passes& p) -> const Part& { return p.head; });
  Sum drafts;
  drafts.add(draft);
  fmt::print("{:32}{:>10.2f}{:>8.1f}\n\n", "MTP block and head", 1e3 * drafts.seconds, drafts.speed());
  const auto tokens_a_second = [&](const Sum& sum) { return static_cast<double>(prefill) / sum.seconds; };
  fmt::print("Prefill of {} tokens: {:.1f} tokens/s through these layers\n\n", prefill,
             tokens_a_second(prompt.measured()));

  const Sum one = decode[1].of_whole(here, whole);
  const double drafted = decode[2].of_whole(here, whole).seconds + drafts.seconds;
  fmt::print("Extrapolated to {} layers, each as fast as the one of its kind above:\n", whole.layers.size());
  fmt::print("  decode without drafts  {:>6.2f} tokens/s ({:.1f} GB a token, {:.1f} GB/s)\n", 1 / one.seconds,
             one.bytes * 1e-9, one.speed());
  fmt::print("  one draft and its verification take {:.2f} times as long as a token without speculation\n",
             drafted / one.seconds);
  for (const double acceptance : {0.5, 0.7, 0.85}) {
    fmt::print("    of which {:.0f}% are accepted: {:>6.2f} tokens/s\n", 100 * acceptance, (1 + acceptance) / drafted);
  }
  fmt::print("  prefill                {:>6.2f} tokens/s\n", tokens_a_second(prompt.of_whole(here, whole)));
}

}  // namespace
}  // namespace outrider

int main(int argc, char** argv) {
  CLI::App app{"Times passes of a model with V4-Flash's layer sizes and random weights"};
  std::string directory = "build/bench/forward";
  unsigned experts = 64;
  unsigned threads = outrider::usable_processors();
  std::size_t passes = 9;
  std::size_t prefill = 256;
  app.add_option("--directory", directory, "Checkpoint directory; written if it does not exist")->capture_default_str();
  app.add_option("--experts", experts, "Number of routed experts per layer, when writing; 64 take 6 GB")
      ->check(CLI::Range(6, 256))
      ->capture_default_str();
  app.add_option("--threads", threads)->check(CLI::Range(1, 256));
  app.add_option("--passes", passes)->check(CLI::Range(1, 100))->capture_default_str();
  app.add_option("--prefill", prefill, "Number of prompt tokens")->check(CLI::Range(1, 2048))->capture_default_str();
  std::string mode = "official";
  app.add_option("--mode", mode)
      ->check(CLI::IsMember(std::vector<std::string>(outrider::kModeNames.begin(), outrider::kModeNames.end())))
      ->capture_default_str();
  bool interactive = false;
  app.add_flag("--interactive", interactive, "Run the passes that standard input asks for")->group("");
  std::size_t context = 4096;
  app.add_option("--context", context, "Most tokens of these passes together")->group("");
  CLI11_PARSE(app, argc, argv);
  try {
    outrider::run(directory, experts, threads, passes, prefill, outrider::numeric_mode(mode),
                  interactive ? context : 0);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_forward: {}\n", e.what());
    return 1;
  }
  return 0;
}
