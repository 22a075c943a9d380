#include "outrider/cli/commands/serve_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/open_plan.h"
#include "outrider/cli/commands/acceptance_watch.h"
#include "outrider/cli/commands/end_tokens.h"
#include "outrider/cli/heap/heap.h"
#include "outrider/cli/options/count_option.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/options/vllm_flags.h"
#include "outrider/engine/memory_plan.h"
#include "outrider/server/chat_prompt.h"
#include "outrider/server/sampling_fields.h"
#include "outrider/server/server.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/descriptor_limit.h"
#include "outrider/util/error.h"
#include "outrider/util/memory.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

struct ServeArguments {
  std::string path;
  ModelArguments model;
  SpeculationArguments speculation;
  ServerOptions server;
  std::vector<std::string> served_names;
  std::optional<std::uint64_t> max_model_len;
  std::optional<double> expect_acceptance;
  bool batched_tokens_given = false;
  std::vector<std::string> vllm_flags;
  std::string quantization;
  std::string generation_config = "auto";
  std::string override_generation_config;
  std::string default_chat_template_kwargs;
  std::string log_format = "text";
  std::string prompt_encoding = "auto";
  std::optional<std::string> api_key;
  bool insecure = false;
  unsigned shutdown_timeout = 30;
  std::size_t max_connections = 0;
  bool disable_log_requests = false;
  std::string spec_decode_metrics = "none";
};

std::uint64_t bytes_of(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const auto& file : checkpoint.files()) bytes += file.file_bytes;
  return bytes;
}

// Validates --quantization: weights run as they are stored, so it may only name their format.
void check_quantization(const std::string& asked, const CompletePlan& plan) {
  const auto& described = plan.manifest().config().quantization;
  const std::string method = described ? described->quant_method : std::string();
  // vLLM has names such as modelopt_fp4 and deepseek_v4_fp8 for the same formats.
  const bool same = !method.empty() && (asked == method || asked.starts_with(method + "_") ||
                                        (asked.starts_with("deepseek_v4_") && asked.ends_with("_" + method)));
  if (asked.empty() || same) return;
  throw Error(fmt::format(
      "--quantization {} is refused: weights run as they are stored, and config.json describes {}. Leave it out; "
      "`outrider quantize` converts weights to other storage forms.",
      printable(asked), method.empty() ? "no quantization" : fmt::format("\"{}\"", printable(method))));
}

SamplingParams sampling_defaults(const ServeArguments& arguments, const CompletePlan& plan) {
  std::string directory = arguments.generation_config;
  if (directory == "auto") directory = plan.checkpoint().root().string();
  if (directory == "vllm") directory.clear();
  std::error_code ignored;
  if (arguments.generation_config != "auto" && !directory.empty() &&
      !std::filesystem::exists(std::filesystem::path(directory) / "generation_config.json", ignored)) {
    throw Error(fmt::format("--generation-config: {} has no generation_config.json. \"auto\" uses MODEL's.",
                            printable(directory)));
  }
  SamplingParams sampling = default_sampling(directory);
  if (!arguments.override_generation_config.empty()) {
    override_sampling(arguments.override_generation_config, "--override-generation-config", sampling);
  }
  return sampling;
}

// A step must hold one token of each sequence and its drafts; users who set its size may not have counted the drafts.
void fit_batched_tokens(bool given, EngineOptions& engine, Log& log) {
  const std::size_t min_tokens = engine.max_num_seqs * (1 + engine.speculative_config.num_speculative_tokens);
  if (engine.max_num_batched_tokens >= min_tokens) return;
  if (given && engine.max_num_batched_tokens < engine.max_num_seqs) return;  // Engine reports that
  if (given) {
    log.warning(fmt::format(
        "--max-num-batched-tokens {} is too small for {} sequences with their draft tokens; it is raised to {}.",
        engine.max_num_batched_tokens, engine.max_num_seqs, min_tokens));
  }
  engine.max_num_batched_tokens = min_tokens;
}

// The releases since V4-Flash-0731 are those that declare a DSpark drafter, whether it is loaded or was dropped.
EncodingRelease encoding_release(const std::string& asked, const ModelConfig& config) {
  const bool preview = asked == "preview" || (asked == "auto" && !config.dspark);
  return preview ? EncodingRelease::kPreview : EncodingRelease::k0731;
}

// Each connection needs a descriptor. `asked`: 0 for what is possible.
void limit_connections(HttpOptions& options, std::size_t asked, Log& log) {
  constexpr std::size_t kOthers = 64;  // standard streams, sockets that listen, files while they are mapped
  const std::size_t descriptors = raise_descriptor_limit();
  const std::size_t possible = std::max(descriptors, kOthers + 1) - kOthers;
  if (asked > possible) {
    log.warning(
        fmt::format("--max-connections {} needs more descriptors than the {} that this process may have; {} "
                    "connections are possible. Raise the limit (ulimit -n, LimitNOFILE=).",
                    asked, descriptors, possible));
  }
  options.max_connections = std::min(asked == 0 ? options.max_connections : asked, possible);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// The key that requests must have; empty if none is required. Nobody is to be let in by an oversight.
std::string api_key(const ServeArguments& arguments) {
  const char* const variable = std::getenv("OUTRIDER_API_KEY");
  const bool given = arguments.api_key.has_value() || variable != nullptr;
  std::string key = arguments.api_key.value_or(variable == nullptr ? "" : variable);
  if (!key.empty() || arguments.insecure) return key;
  if (given) {
    throw Error(fmt::format("{} is empty, so anybody would be let in. Give a key, or --insecure if that is wanted.",
                            arguments.api_key ? "--api-key" : "OUTRIDER_API_KEY"));
  }
  const std::string& host = arguments.server.http.host;
  if (is_loopback(host)) return key;
  throw Error(
      fmt::format("--host {} lets other machines in, and there is no API key. Give --api-key KEY (or the environment "
                  "variable OUTRIDER_API_KEY), or --insecure if anybody may use the server.",
                  printable(host)));
}

int run_serve(ServeArguments& arguments) {
  prepare_heap_for_serving();
  std::signal(SIGPIPE, SIG_IGN);  // who reads the log may leave
  Server::block_signals();
  Log log(arguments.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  accept_vllm_flags(arguments.vllm_flags, arguments.path, log);
  ServerOptions& options = arguments.server;
  options.api.api_key = api_key(arguments);
  RequestDefaults& defaults = options.api.defaults;
  if (!arguments.default_chat_template_kwargs.empty()) {
    defaults.chat_template_kwargs =
        read_chat_template_kwargs(arguments.default_chat_template_kwargs, "--default-chat-template-kwargs");
  }
  limit_connections(options.http, arguments.max_connections, log);
  const auto plan = open_plan(arguments.path, arguments.speculation.drafter(arguments.path));
  check_quantization(arguments.quantization, *plan);
  defaults.sampling = sampling_defaults(arguments, *plan);
  options.engine.speculative_config = arguments.speculation.speculative_config(
      *plan, arguments.path, [&log](const std::string& note) { log.warning(note); });
  fit_batched_tokens(arguments.batched_tokens_given, options.engine, log);
  const Tokenizer tokenizer = Tokenizer::open(plan->checkpoint().root());
  const std::unique_ptr<const Model> loaded = load_model(plan, arguments.model);
  const Model& model = *loaded;
  const MemoryPlan memory =
      plan_memory(model, options.engine, arguments.max_model_len, available_memory(), total_memory());
  options.engine.max_model_len = memory.max_model_len;

  ApiOptions& api = options.api;
  api.model_names = arguments.served_names.empty() ? std::vector{arguments.path} : arguments.served_names;
  api.model_root = arguments.path;
  api.version = OUTRIDER_VERSION;
  if (arguments.spec_decode_metrics == "summary") api.spec_decode_metrics = SpecDecodeMetrics::kSummary;
  if (arguments.spec_decode_metrics == "detailed") api.spec_decode_metrics = SpecDecodeMetrics::kDetailed;
  api.log_requests = !arguments.disable_log_requests;
  defaults.max_model_len = memory.max_model_len;
  defaults.vocab_size = model.config().vocab_size;
  defaults.end_tokens = end_tokens(*plan, tokenizer);
  defaults.encoding = encoding_release(arguments.prompt_encoding, plan->manifest().config());

  options.expected_acceptance = expected_acceptance(*plan, arguments.expect_acceptance);
  options.explain_acceptance = [plan] { return causes_of_rejection(*plan); };

  Server server(model, tokenizer, options, log);
  const std::uint64_t weights = bytes_of(plan->checkpoint());
  log.info("Model loaded: the checkpoint is complete.",
           {{"model", arguments.path},
            {"weights", bytes_text(weights)},
            {"kernels", model.backend().name()},
            {"threads", arguments.model.options().threads},
            {"num_speculative_tokens", options.engine.speculative_config.num_speculative_tokens}});
  log.info("Memory planned.", {{"max_num_seqs", options.engine.max_num_seqs},
                               {"max_model_len", memory.max_model_len},
                               {"kv_cache", bytes_text(memory.sequences)},
                               {"per_sequence", bytes_text(memory.sequence)},
                               {"scratch", bytes_text(memory.scratch)},
                               {"available", bytes_text(memory.available)}});
  if (weights > memory.available - memory.total()) {
    log.warning(
        "When all sequences are full, the weights no longer fit into memory beside them and are read from disk again "
        "and "
        "again. Reduce --max-num-seqs or --max-model-len to avoid this.");
  }
  const std::string& host = options.http.host;
  const bool ipv6 = host.find(':') != std::string::npos;
  log.info(fmt::format("Listening on http://{}:{}", ipv6 ? fmt::format("[{}]", host) : host, server.port()),
           {{"served_model_name", api.model_names[0]}});
  server.run();
  return 0;
}

}  // namespace

void add_serve_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<ServeArguments>();
  ServerOptions& server = arguments->server;
  CLI::App* command = app.add_subcommand("serve", "Serve a model over HTTP, with OpenAI's API");
  command->footer(
      "Endpoints: /v1/completions, /v1/chat/completions, /v1/models, /tokenize, /detokenize, /health, /version,\n"
      "/metrics. SIGTERM and SIGINT shut down the server once all requests are answered; a second one stops it at\n"
      "once. Other flags of `vllm serve` are accepted, with a log line that says why they have no effect, or refused;\n"
      "see docs/vllm-flags.md. COUNT: 4096, 4k (4000), 4K (4096), 1M.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or an option cannot be satisfied; 75 another try may\n"
      "succeed: the address is in use, or there is not enough memory now.");
  command->add_option("MODEL", arguments->path, "Checkpoint directory, with tokenizer.json")->required();
  command->add_option("--host", server.http.host, "Address to listen on")
      ->check([](const std::string& host) { return host.empty() ? "the address must not be empty" : ""; }, "")
      ->capture_default_str();
  command->add_option("--port", server.http.port, "Port to listen on; 0: any free port")->capture_default_str();
  command->add_flag("--insecure", arguments->insecure,
                    "Allow an address that other machines reach without an API key, or an empty key");
  command->add_option("--api-key", arguments->api_key,
                      "Required API key (Authorization: Bearer …); default: the environment variable OUTRIDER_API_KEY");
  command->add_option("--served-model-name", arguments->served_names,
                      "Model names in the API; default: MODEL as given");
  add_max_model_len_option(
      *command, arguments->max_model_len,
      "Maximum length of a sequence, prompt and output; default: the model's context, or what fits into memory");
  add_count_option(*command, "--max-num-seqs", server.engine.max_num_seqs, 1, 4096,
                   "Maximum number of concurrent sequences");
  const CLI::Option* batched_tokens =
      add_count_option(*command, "--max-num-batched-tokens", server.engine.max_num_batched_tokens, 1, 1 << 20,
                       "Maximum number of tokens per step; at least one per sequence, and its draft tokens");
  command
      ->add_option("--max-connections", arguments->max_connections,
                   "Maximum number of connections; a further one replaces the one that was idle longest, or is refused")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
      ->default_str(std::to_string(server.http.max_connections));
  command->add_option("--max-body-bytes", server.http.max_body, "Maximum size of a request's body, e.g. 32MiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("32MiB");
  command
      ->add_option("--max-pending-bytes", server.http.max_pending_bodies,
                   "Maximum memory of all bodies that are being received or wait to be read, e.g. 256MiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("256MiB");
  command
      ->add_option("--max-waiting", server.engine.max_waiting,
                   "Maximum number of queued requests; further ones are answered with 429")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--seed", server.api.seed,
                      "Random seed of requests that have none; default: a new one at each start");
  add_speculation_options(*command, arguments->speculation);
  add_expect_acceptance_option(*command, arguments->expect_acceptance);
  command->add_flag("--fail-on-suspect", server.fail_on_suspect,
                    "Return 503, not 200, from /health while hardly any drafts are accepted");
  command
      ->add_option(
          "--prompt-encoding", arguments->prompt_encoding,
          "Prompt encoding of reasoning effort: the preview release's, V4-Flash-0731's, or that of the checkpoint's "
          "release")
      ->check(CLI::IsMember({"auto", "preview", "0731"}))
      ->capture_default_str();
  command
      ->add_option("--generation-config", arguments->generation_config,
                   "Source of sampling defaults: auto (MODEL's generation_config.json), vllm (none), or a directory "
                   "with that file")
      ->capture_default_str();
  command->add_option("--override-generation-config", arguments->override_generation_config,
                      R"(JSON object that overrides the sampling defaults: {"temperature": 0.6, "top_p": 0.95})");
  command->add_option("--default-chat-template-kwargs", arguments->default_chat_template_kwargs,
                      R"(JSON object of default chat template arguments: {"thinking": true})");
  command->add_flag_callback(
      "--no-enable-prefix-caching", [&server] { server.engine.prefix_caching = false; }, "Disable prefix caching");
  command->add_flag("--disable-log-requests", arguments->disable_log_requests, "Do not log requests");
  command->add_flag_callback(
      "--disable-log-stats", [&server] { server.log_stats = false; }, "Do not log throughput and acceptance");
  command
      ->add_option("--per-request-spec-decode-metrics", arguments->spec_decode_metrics,
                   "Acceptance of drafts in each answer (metrics.speculative_decoding): summary, or detailed, which "
                   "lists the draft rounds")
      ->check(CLI::IsMember({"none", "summary", "detailed"}))
      ->capture_default_str();
  command
      ->add_option("--log-format", arguments->log_format,
                   "Log format on standard error: text, or one JSON object per line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->add_option("--shutdown-timeout", arguments->shutdown_timeout, "Seconds to let requests finish at shutdown")
      ->check(CLI::Range(0U, 86400U))
      ->capture_default_str();
  add_model_options(*command, arguments->model);
  // Flags of vLLM, for commands as they are published.
  command->add_option("--quantization", arguments->quantization)->group("");
  command->add_option(kVllmFlagOption, arguments->vllm_flags)->allow_extra_args(false)->group("");
  // As in vLLM, the last of repeated flags counts.
  for (CLI::Option* option : command->get_options()) {
    if (option->get_items_expected_max() == 1) option->take_last();
  }
  command->callback([arguments, batched_tokens, &status] {
    arguments->batched_tokens_given = batched_tokens->count() != 0;
    HttpOptions& http = arguments->server.http;
    http.max_pending_bodies = std::max(http.max_pending_bodies, http.max_body);
    arguments->server.shutdown_timeout = std::chrono::seconds(arguments->shutdown_timeout);
    status = run_serve(*arguments);
  });
}

}  // namespace outrider
