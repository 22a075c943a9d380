#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "outrider/benchmark/latency_benchmark.h"
#include "outrider/benchmark/latency_report.h"
#include "outrider/benchmark/prompts.h"
#include "outrider/binding/open_plan.h"
#include "outrider/cli/commands/bench_command.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/cli/terminal/write_json.h"
#include "outrider/files/file_reader.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxText = std::uint64_t{1} << 28;

struct BenchLatencyArguments {
  std::string path;
  std::string text_file;
  std::string output_json;
  ModelArguments model;
  SpeculationArguments speculation;
  std::size_t input_len = 32;
  std::vector<std::string> num_speculative_tokens;
  LatencyBenchmarkOptions benchmark;
  bool breakdown = false;
  bool quiet = false;
};

// A number of draft tokens, or "auto".
std::string check_drafts(const std::string& text) {
  if (text == "auto") return "";
  return CLI::Range(std::size_t{0}, kMaxSpeculativeTokens)(text).empty()
             ? ""
             : fmt::format("{} is neither a number from 0 to {} nor auto", text, kMaxSpeculativeTokens);
}

void choose_speculation(const BenchLatencyArguments& arguments, const CompletePlan& plan,
                        LatencyBenchmarkOptions& benchmark) {
  benchmark.speculative_config = arguments.speculation.speculative_config(plan, arguments.path);
  const SpeculativeConfig& config = benchmark.speculative_config;
  const std::size_t count = config.automatic ? kAutomatic : config.num_speculative_tokens;
  benchmark.num_speculative_tokens.clear();
  for (const std::string& text : arguments.num_speculative_tokens) {
    benchmark.num_speculative_tokens.push_back(text == "auto" ? kAutomatic : std::stoul(text));
  }
  if (!benchmark.num_speculative_tokens.empty()) return;
  if (count != 0 && arguments.speculation.config.empty()) benchmark.num_speculative_tokens = {0};
  benchmark.num_speculative_tokens.push_back(count);
}

// The tokens that random prompts consist of: a model of random weights (make-model) has no tokenizer.
std::vector<TokenId> prompt_tokens(const CompletePlan& plan) {
  if (std::filesystem::exists(plan.checkpoint().root() / "tokenizer.json")) {
    return plain_tokens(Tokenizer::open(plan.checkpoint().root()));
  }
  std::vector<TokenId> tokens(plan.manifest().config().vocab_size);
  std::iota(tokens.begin(), tokens.end(), TokenId{0});
  return tokens;
}

std::vector<std::vector<std::uint32_t>> make_prompts(const BenchLatencyArguments& arguments, const CompletePlan& plan) {
  const std::size_t count = std::ranges::max(arguments.benchmark.batch_sizes);
  if (!arguments.text_file.empty()) {
    const std::string text = read_text_file(arguments.text_file, kMaxText);
    return excerpts(text_prompt_ids(Tokenizer::open(plan.checkpoint().root()), text), count, arguments.input_len);
  }
  RandomPromptOptions options;
  options.count = count;
  options.input_len = arguments.input_len;
  options.seed = arguments.benchmark.seed;
  std::vector<std::vector<std::uint32_t>> out;
  for (BenchmarkPrompt& prompt : random_prompts(options, prompt_tokens(plan))) {
    out.push_back(std::get<std::vector<TokenId>>(std::move(prompt.prompt)));
  }
  return out;
}

int run_bench_latency(BenchLatencyArguments& arguments) {
  validate(arguments.benchmark.sampling);
  const auto plan = open_plan(arguments.path, arguments.speculation.drafter(arguments.path));
  choose_speculation(arguments, *plan, arguments.benchmark);
  const auto prompts = make_prompts(arguments, *plan);
  OperationTimes times;
  if (arguments.breakdown) arguments.benchmark.times = &times;
  const auto loaded = load_model(plan, arguments.model, arguments.breakdown ? &times : nullptr);
  const Model& model = *loaded;

  ProgressBar bar("measuring", ProgressUnit::kItems);
  const auto results =
      run_latency_benchmark(model, prompts, arguments.benchmark, [&](std::size_t done, std::size_t total) {
        if (!arguments.quiet) bar.show(done, total);
      });
  bar.clear();
  fmt::print(
      "{} input tokens, {} output tokens, {} prompts; {} iterations after {} warmups; {} kernels, {} threads, {} "
      "numerics\n",
      arguments.input_len, arguments.benchmark.output_len, arguments.text_file.empty() ? "random" : "text",
      arguments.benchmark.iterations, arguments.benchmark.warmups, model.backend().name(),
      arguments.model.options().threads, arguments.model.mode);
  fmt::print("{}{}", latency_report_text(results, arguments.benchmark), breakdown_text(results));
  if (!arguments.output_json.empty()) {
    nlohmann::ordered_json json = latency_report_json(results, arguments.benchmark);
    json["model"] = arguments.path;
    json["input_len"] = arguments.input_len;
    json["output_len"] = arguments.benchmark.output_len;
    json["temperature"] = arguments.benchmark.sampling.temperature;
    json["kernels"] = model.backend().name();
    json["threads"] = arguments.model.options().threads;
    json["mode"] = arguments.model.mode;
    write_json(arguments.output_json, json, false);
  }
  return 0;
}

}  // namespace

void add_bench_latency_command(CLI::App& bench, int& status) {
  auto arguments = std::make_shared<BenchLatencyArguments>();
  LatencyBenchmarkOptions& options = arguments->benchmark;
  CLI::App* command = bench.add_subcommand("latency", "Benchmark the latency of a batch, in this process");
  command->footer(
      "Measures every batch size with every number of speculative tokens (k), iterations interleaved. \"x k=0\" and\n"
      "\"x batch 1\" are speedups of decoding, without the prompt. Random prompts say little about acceptance: take\n"
      "real ones from a file with --text-file. See docs/bench.md.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or an option cannot be satisfied.");
  command->add_option("MODEL", arguments->path, "Checkpoint directory; with tokenizer.json for --text-file")
      ->required();
  const auto positive = CLI::Range(std::size_t{1}, std::size_t{1} << 20);
  command->add_option("--input-len", arguments->input_len, "Number of input tokens per prompt")
      ->check(positive)
      ->capture_default_str();
  command->add_option("--output-len", options.output_len, "Number of output tokens per prompt, at least 2")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--batch-size", options.batch_sizes, "Batch sizes, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(std::size_t{1}, std::size_t{4096}))
      ->capture_default_str();
  add_speculation_options(*command, arguments->speculation);
  command
      ->add_option(
          "--num-speculative-tokens", arguments->num_speculative_tokens,
          "Draft tokens per step, 0 to 8 or auto, separated by commas; default: 0 and, with an MTP block, auto")
      ->delimiter(',')
      ->check(CLI::Validator(check_drafts, "0..8 or auto"))
      ->excludes("--speculative-config", "--no-speculation");
  command->add_option("--num-iters-warmup", options.warmups, "Number of warmup iterations")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--num-iters", options.iterations, "Number of measured iterations")
      ->check(positive)
      ->capture_default_str();
  command->add_option("--text-file", arguments->text_file, "Text file to take prompts from; default: random tokens")
      ->type_name("FILE");
  command->add_option("--temperature", options.sampling.temperature, "Sampling temperature; 0: greedy")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Random seed of prompts and sampling")->capture_default_str();
  command->add_option("--output-json", arguments->output_json, "Write the results to this JSON file")
      ->type_name("FILE");
  command->add_flag("--breakdown", arguments->breakdown, "Also show which operations a decode step spends its time on");
  command->add_flag("--disable-tqdm", arguments->quiet, "Disable the progress bar");
  add_chunk_option(*command, options.chunk);
  add_model_options(*command, arguments->model);
  command->callback([arguments, &status] { status = run_bench_latency(*arguments); });
}

}  // namespace outrider
