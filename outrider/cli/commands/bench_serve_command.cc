#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "outrider/benchmark/dataset_file.h"
#include "outrider/benchmark/http_client.h"
#include "outrider/benchmark/prompts.h"
#include "outrider/benchmark/serve_benchmark.h"
#include "outrider/benchmark/serve_report.h"
#include "outrider/cli/commands/bench_command.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/cli/terminal/write_json.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/descriptor_limit.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

struct BenchServeArguments {
  std::string base_url;
  std::string host = "127.0.0.1";
  unsigned port = 8000;
  std::string api_key;
  std::vector<std::string> headers;
  unsigned ready_check_timeout = 0;  // seconds

  std::string backend = "openai";
  std::optional<std::string> endpoint;
  std::string model;
  std::string served_model_name;
  std::string tokenizer;

  std::string dataset_name = "random";
  std::string dataset_path;
  std::size_t num_prompts = 1000;
  RandomPromptOptions random;
  std::optional<std::size_t> input_len;
  std::optional<std::size_t> output_len;
  std::optional<std::size_t> custom_output_len;
  std::optional<std::size_t> sharegpt_output_len;
  std::uint64_t seed = 0;
  bool disable_shuffle = false;
  bool no_oversample = false;
  bool skip_chat_template = false;

  ServeBenchmarkOptions benchmark;
  std::string extra_body;
  std::vector<std::pair<const char*, std::optional<double>>> sampling = {
      {"temperature", {}},       {"top_p", {}}, {"min_p", {}}, {"presence_penalty", {}}, {"frequency_penalty", {}},
      {"repetition_penalty", {}}};
  std::optional<std::int64_t> top_k;

  std::vector<std::string> percentile_metrics = {"ttft", "tpot", "itl"};
  std::vector<double> metric_percentiles = {99};
  std::vector<std::string> goodput;
  bool quiet = false;
  bool save_result = false;
  bool append_result = false;
  bool save_detailed = false;
  std::string result_dir;
  std::string result_filename;
  std::string label;
  std::vector<std::string> metadata;
};

std::pair<std::string, std::string> split_pair(const std::string& text, char separator, const char* option) {
  const std::size_t at = text.find(separator);
  if (at == std::string::npos || at == 0) {
    throw Error(fmt::format("{}: \"{}\" is not of the form NAME{}VALUE.", option, printable(text), separator));
  }
  return {text.substr(0, at), text.substr(at + 1)};
}

BaseUrl base_url(const BenchServeArguments& arguments) {
  if (!arguments.base_url.empty()) return parse_base_url(arguments.base_url);
  BaseUrl url;
  url.host = arguments.host;
  url.port = std::to_string(arguments.port);
  return parse_base_url(url.text());
}

std::vector<HttpHeader> headers(const BenchServeArguments& arguments) {
  std::string key = arguments.api_key;
  if (const char* given = std::getenv("OPENAI_API_KEY"); key.empty() && given != nullptr) key = given;
  std::vector<HttpHeader> out;
  if (!key.empty()) out.push_back({"Authorization", "Bearer " + key});
  for (const std::string& text : arguments.headers) {
    auto [name, value] = split_pair(text, '=', "--header");
    out.push_back({std::move(name), std::move(value)});
  }
  for (const HttpHeader& header : out) {
    constexpr std::string_view kToken = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
    if (header.name.find_first_not_of(kToken) != std::string::npos ||
        header.value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      throw Error(fmt::format("\"{}\" is not a valid request header.", printable(header.name)));
    }
  }
  return out;
}

struct ServedModel {
  std::string name;
  std::string root;  // the model's path as the server reports it; empty if it does not
};

// The first model that the server lists.
ServedModel first_model(HttpClient& client) {
  const std::string where = client.url().text() + "/v1/models";
  const HttpAnswer answer = client.get("/v1/models");
  if (answer.status != 200) {
    throw Error(fmt::format("{} responded {}: {}.", where, answer.status, printable(answer.body)));
  }
  const nlohmann::json json = parse_bounded_json(answer.body, where);
  try {
    const nlohmann::json& model = json.at("data").at(0);
    const auto root = model.find("root");
    return {model.at("id").get<std::string>(),
            root != model.end() && root->is_string() ? root->get<std::string>() : std::string()};
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{} lists no model. Name one with --model.", where));
  }
}

bool has_tokenizer(const std::string& directory) {
  std::error_code ignored;
  return !directory.empty() && std::filesystem::exists(std::filesystem::path(directory) / "tokenizer.json", ignored);
}

void wait_until_ready(HttpClient& client, unsigned timeout) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(timeout);
  for (;;) {
    try {
      if (client.get("/v1/models").status == 200 || std::chrono::steady_clock::now() >= until) return;
    } catch (const Error&) {
      if (std::chrono::steady_clock::now() >= until) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

std::vector<BenchmarkPrompt> make_prompts(const BenchServeArguments& arguments, const TextTokens& tokens) {
  if (arguments.dataset_name == "random") {
    if (!arguments.dataset_path.empty()) {
      throw Error(
          "--dataset-path needs a data set that is read from a file: set --dataset-name too, or leave --dataset-path "
          "out.");
    }
    RandomPromptOptions options = arguments.random;
    options.count = arguments.num_prompts;
    options.seed = arguments.seed;
    options.input_len = arguments.input_len.value_or(options.input_len);
    options.output_len = arguments.output_len.value_or(options.output_len);
    std::vector<BenchmarkPrompt> prompts = random_prompts(options, tokens.plain_tokens());
    if (arguments.benchmark.chat()) {
      for (BenchmarkPrompt& prompt : prompts)
        prompt.prompt = tokens.text(std::get<std::vector<TokenId>>(prompt.prompt));
    }
    return prompts;
  }
  if (arguments.dataset_path.empty()) {
    throw Error(
        fmt::format("The data set {} is read from a file: give it with --dataset-path.", arguments.dataset_name));
  }
  DatasetOptions options;
  options.count = arguments.num_prompts;
  options.seed = arguments.seed;
  options.shuffle = !arguments.disable_shuffle;
  options.oversample = !arguments.no_oversample;
  const bool custom = arguments.dataset_name == "custom";
  options.output_len = arguments.output_len;
  if (!options.output_len) options.output_len = custom ? arguments.custom_output_len : arguments.sharegpt_output_len;
  return custom ? read_custom_dataset(arguments.dataset_path, options)
                : read_sharegpt_dataset(arguments.dataset_path, options, tokens);
}

ordered_json extra_body(const BenchServeArguments& arguments) {
  ordered_json body = ordered_json::object();
  for (const auto& [name, value] : arguments.sampling) {
    if (value) body[name] = *value;
  }
  if (arguments.top_k) body["top_k"] = *arguments.top_k;
  if (!arguments.extra_body.empty()) {
    const nlohmann::json more = parse_bounded_json(arguments.extra_body, "--extra-body");
    if (!more.is_object()) throw Error("--extra-body must be a JSON object; its fields are added to every request.");
    body.update(more);
  }
  return body;
}

ServeReportOptions report_options(const BenchServeArguments& arguments) {
  ServeReportOptions options;
  options.metrics = arguments.percentile_metrics;
  options.percentiles = arguments.metric_percentiles;
  options.detailed = arguments.save_detailed;
  for (const std::string& text : arguments.goodput) {
    const auto [name, value] = split_pair(text, ':', "--goodput");
    char* end = nullptr;
    options.goodput[name] = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0') {
      throw Error(fmt::format("--goodput: \"{}\" is not a number of milliseconds.", printable(value)));
    }
  }
  validate(options);
  return options;
}

std::string rate_word(double rate) {
  return std::isinf(rate) ? "inf" : fmt::format("{}", rate);
}

// vLLM's file name: label, rate, concurrency, model and date.
std::string result_path(const BenchServeArguments& arguments, const std::string& model, const std::string& date) {
  std::string name = arguments.result_filename;
  if (name.empty()) {
    const std::size_t slash = model.find_last_not_of('/') == std::string::npos ? std::string::npos : model.rfind('/');
    const std::string base = slash == std::string::npos ? model : model.substr(slash + 1);
    name = fmt::format(
        "{}-{}qps{}-{}-{}.json", arguments.label.empty() ? arguments.backend : arguments.label,
        rate_word(arguments.benchmark.request_rate),
        arguments.benchmark.max_concurrency ? fmt::format("-concurrency{}", *arguments.benchmark.max_concurrency) : "",
        base, date);
  }
  if (arguments.result_dir.empty()) return name;
  std::error_code error;
  std::filesystem::create_directories(arguments.result_dir, error);
  return (std::filesystem::path(arguments.result_dir) / name).string();
}

ordered_json result_json(const BenchServeArguments& arguments, const std::string& model, const std::string& tokenizer,
                         const std::string& date, const ordered_json& report) {
  const ServeBenchmarkOptions& options = arguments.benchmark;
  ordered_json out = {{"date", date},
                      {"endpoint_type", arguments.backend},
                      {"backend", arguments.backend},
                      {"label", arguments.label.empty() ? ordered_json() : ordered_json(arguments.label)},
                      {"model_id", model},
                      {"tokenizer_id", tokenizer.empty() ? ordered_json() : ordered_json(tokenizer)},
                      {"num_prompts", arguments.num_prompts}};
  for (const std::string& text : arguments.metadata) {
    const auto [name, value] = split_pair(text, '=', "--metadata");
    out[name] = value;
  }
  out["request_rate"] = std::isinf(options.request_rate) ? ordered_json("inf") : ordered_json(options.request_rate);
  out["burstiness"] = std::isinf(options.burstiness) ? ordered_json("inf") : ordered_json(options.burstiness);
  out["max_concurrency"] = options.max_concurrency ? ordered_json(*options.max_concurrency) : ordered_json();
  out.update(report);
  return out;
}

int run_bench_serve(BenchServeArguments& arguments) {
  ServeBenchmarkOptions& options = arguments.benchmark;
  options.endpoint =
      arguments.endpoint.value_or(arguments.backend == "openai-chat" ? "/v1/chat/completions" : "/v1/completions");
  options.seed = arguments.seed;
  options.extra_body = extra_body(arguments);
  // As vLLM: random prompts are meant to be answered at full length.
  if (arguments.dataset_name == "random") options.ignore_eos = true;
  const ServeReportOptions report = report_options(arguments);
  for (const std::string& text : arguments.metadata) split_pair(text, '=', "--metadata");

  raise_descriptor_limit();
  HttpClient client(base_url(arguments), headers(arguments));
  if (arguments.ready_check_timeout != 0) wait_until_ready(client, arguments.ready_check_timeout);
  ServedModel model{arguments.model, {}};
  if (arguments.model.empty()) model = first_model(client);
  options.model = arguments.served_model_name.empty() ? model.name : arguments.served_model_name;

  std::string directory = arguments.tokenizer;
  for (const std::string& candidate : {model.name, model.root}) {
    if (directory.empty() && has_tokenizer(candidate)) directory = candidate;
  }
  std::optional<Tokenizer> tokenizer;
  if (!directory.empty()) tokenizer = Tokenizer::open(directory);
  const TextTokens tokens = tokenizer ? tokens_of(*tokenizer) : tokens_of(client, options.model);
  const std::vector<BenchmarkPrompt> prompts = make_prompts(arguments, tokens);
  fmt::print("{} {} prompts for {} at {}{}, tokenizer {}\n", prompts.size(), arguments.dataset_name, options.model,
             client.url().text(), options.endpoint, directory.empty() ? "of the server" : directory);
  std::fflush(stdout);

  ProgressBar bar("requests", ProgressUnit::kItems);
  const ServeRun result = run_serve_benchmark(client, prompts, options, [&](std::size_t done, std::size_t total) {
    if (!arguments.quiet) bar.show(done, total);
  });
  bar.clear();
  fmt::print("{}", serve_report_text(result, options, report));
  std::fflush(stdout);

  const ordered_json json = serve_report_json(result, options, report);
  if (arguments.save_result || arguments.append_result) {
    const std::string date = fmt::format("{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr)));
    const std::string path = result_path(arguments, model.name, date);
    write_json(path, result_json(arguments, model.name, directory, date, json), arguments.append_result);
    fmt::print("result written to {}\n", path);
  }
  return json["failed"].get<std::size_t>() == 0 ? 0 : 1;
}

void add_server_options(CLI::App& command, BenchServeArguments& arguments) {
  command.add_option("--base-url", arguments.base_url,
                     "Base URL of the server, http://host:port; replaces --host and --port");
  command.add_option("--host", arguments.host, "Host of the server")->capture_default_str();
  command.add_option("--port", arguments.port, "Port of the server")
      ->check(CLI::Range(1U, 65535U))
      ->capture_default_str();
  command.add_option("--endpoint", arguments.endpoint,
                     "API path; one that ends in /chat/completions receives messages; default: /v1/completions");
  command
      .add_option("--backend", arguments.backend,
                  "API type: openai or vllm (completions), openai-chat (chat completions); always streamed")
      ->check(CLI::IsMember({"openai", "vllm", "openai-chat"}))
      ->capture_default_str();
  command.add_option("--api-key", arguments.api_key, "API key; default: the environment variable OPENAI_API_KEY");
  command.add_option("--header", arguments.headers, "Additional request headers, NAME=VALUE each");
  command.add_option("--model", arguments.model, "Model name or directory; default: the server's first model");
  command.add_option("--served-model-name", arguments.served_model_name, "Model name in requests; default: --model");
  command
      .add_option("--tokenizer", arguments.tokenizer,
                  "Directory with a tokenizer.json; default: the model's, if it is on this machine, else the server's "
                  "/tokenize")
      ->type_name("DIR");
  command
      .add_option("--ready-check-timeout-sec", arguments.ready_check_timeout,
                  "Seconds to wait for the server to become ready")
      ->check(CLI::Range(0U, 86400U))
      ->capture_default_str();
}

void add_prompt_options(CLI::App& command, BenchServeArguments& arguments) {
  RandomPromptOptions& random = arguments.random;
  const auto length = CLI::Range(std::size_t{1}, std::size_t{1} << 24);
  command
      .add_option("--dataset-name", arguments.dataset_name,
                  "Data set: random (random tokens), custom (JSON lines with a \"prompt\") or sharegpt (ShareGPT JSON)")
      ->check(CLI::IsMember({"random", "custom", "sharegpt"}))
      ->capture_default_str();
  command.add_option("--dataset-path", arguments.dataset_path, "Path of the data set")->type_name("FILE");
  command.add_option("--num-prompts", arguments.num_prompts, "Number of requests")
      ->check(length)
      ->capture_default_str();
  command.add_option("--random-input-len", random.input_len, "Number of input tokens per random prompt")
      ->check(length)
      ->capture_default_str();
  command.add_option("--random-output-len", random.output_len, "Number of output tokens per random prompt")
      ->check(length)
      ->capture_default_str();
  command.add_option("--random-range-ratio", random.range_ratio, "Fraction by which both lengths vary; 0 to below 1")
      ->capture_default_str();
  command
      .add_option("--random-prefix-len", random.prefix_len,
                  "Number of additional tokens in a prefix shared by all prompts")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 24))
      ->capture_default_str();
  command
      .add_option("--custom-output-len", arguments.custom_output_len,
                  "Number of output tokens; default: the line's \"output_tokens\", else 256")
      ->check(length);
  command
      .add_option("--sharegpt-output-len", arguments.sharegpt_output_len,
                  "Number of output tokens; default: the length of the conversation's answer")
      ->check(length);
  command.add_option("--input-len", arguments.input_len, "Same as --random-input-len")->check(length);
  command.add_option("--output-len", arguments.output_len, "Number of output tokens, for every data set")
      ->check(length);
  command.add_flag("--disable-shuffle", arguments.disable_shuffle, "Send a data set's prompts in file order");
  command.add_flag("--no-oversample", arguments.no_oversample,
                   "Never repeat prompts, even if there are fewer than --num-prompts");
  command.add_flag("--skip-chat-template", arguments.skip_chat_template,
                   "Accepted for compatibility with vLLM: prompts are always sent unchanged");
  command.add_option("--seed", arguments.seed, "Random seed of prompts, their order and arrival times")
      ->capture_default_str();
}

void add_request_options(CLI::App& command, BenchServeArguments& arguments) {
  ServeBenchmarkOptions& options = arguments.benchmark;
  command
      .add_option("--request-rate", options.request_rate, "Requests per second, as a Poisson process; inf: all at once")
      ->default_str("inf");
  command
      .add_option("--burstiness", options.burstiness,
                  "Burstiness of arrivals; 1: Poisson; below 1: burstier; above 1: more uniform")
      ->capture_default_str();
  command.add_option("--max-concurrency", options.max_concurrency, "Maximum number of concurrent requests")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20));
  command.add_option("--num-warmups", options.warmups, "Number of warmup requests")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 20))
      ->capture_default_str();
  command.add_flag("--ignore-eos", options.ignore_eos,
                   "Ignore the end-of-sequence token; always set for random prompts");
  command.add_option("--logprobs", options.logprobs, "Number of logprobs to request per token")
      ->check(CLI::Range(0U, 20U));
  for (auto& [field, value] : arguments.sampling) {
    std::string name = field;
    std::ranges::replace(name, '_', '-');
    command.add_option("--" + name, value, "Sampling parameter; default: the server's");
  }
  command.add_option("--top-k", arguments.top_k, "Sampling parameter; default: the server's");
  command.add_option("--extra-body", arguments.extra_body, "JSON object of additional fields for every request");
  command.add_option("--request-id-prefix", options.request_id_prefix,
                     "Prefix of the header x-request-id, before the prompt's number");
}

void add_result_options(CLI::App& command, BenchServeArguments& arguments) {
  command
      .add_option("--percentile-metrics", arguments.percentile_metrics,
                  "Metrics to report, separated by commas: ttft, tpot, itl, e2el, client_queue_time, "
                  "e2el_including_client_queue")
      ->delimiter(',')
      ->default_str("ttft,tpot,itl");
  command
      .add_option("--metric-percentiles", arguments.metric_percentiles, "Percentiles to report, separated by commas")
      ->delimiter(',')
      ->default_str("99");
  command.add_option("--goodput", arguments.goodput,
                     "Service level objectives, NAME:MILLISECONDS each (ttft, tpot, e2el)");
  command.add_flag("--save-result", arguments.save_result, "Save the result to a JSON file");
  command.add_flag("--append-result", arguments.append_result, "Append the result to the file");
  command.add_flag("--save-detailed", arguments.save_detailed,
                   "Save lengths, times, outputs and errors of each request too");
  command.add_option("--result-dir", arguments.result_dir, "Directory of the result file; default: the current one")
      ->type_name("DIR");
  command
      .add_option("--result-filename", arguments.result_filename,
                  "Name of the result file; default: {label}-{rate}qps[-concurrency{n}]-{model}-{date}.json")
      ->type_name("FILE");
  command.add_option("--label", arguments.label, "Prefix of the result file's name; default: --backend");
  command.add_option("--metadata", arguments.metadata, "Additional fields of the result file, NAME=VALUE each");
  command.add_flag("--disable-tqdm", arguments.quiet, "Disable the progress bar");
}

}  // namespace

void add_bench_serve_command(CLI::App& bench, int& status) {
  auto arguments = std::make_shared<BenchServeArguments>();
  CLI::App* command = bench.add_subcommand("serve", "Benchmark an OpenAI-compatible server");
  command->footer(
      "Options and results are those of `vllm bench serve`. Acceptance is computed from the increase of the server's\n"
      "vllm:spec_decode_* metrics, so nobody else should use the server meanwhile. See docs/bench.md.\n"
      "Exit status: 0; 1 some requests failed; 2 the server cannot be reached, or an option cannot be satisfied.");
  add_server_options(*command, *arguments);
  add_prompt_options(*command, *arguments);
  add_request_options(*command, *arguments);
  add_result_options(*command, *arguments);
  command->callback([arguments, &status] { status = run_bench_serve(*arguments); });
}

}  // namespace outrider
