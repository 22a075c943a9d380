#include "outrider/cli/serve_command.h"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/open_plan.h"
#include "outrider/cli/acceptance_watch.h"
#include "outrider/cli/end_tokens.h"
#include "outrider/cli/heap.h"
#include "outrider/cli/model_options.h"
#include "outrider/engine/memory_plan.h"
#include "outrider/server/server.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/memory.h"

namespace outrider {
namespace {

struct Arguments {
  std::string path;
  ModelArguments model;
  SpeculationArguments speculation;
  ServerOptions server;
  std::vector<std::string> served_names;
  std::optional<std::uint64_t> max_model_len;
  std::optional<double> expect_acceptance;
  std::string log_format = "text";
  std::string prompt_encoding = "preview";
  unsigned shutdown_timeout = 30;
  bool disable_log_requests = false;
};

std::uint64_t bytes_of(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const auto& file : checkpoint.files()) bytes += file.file_bytes;
  return bytes;
}

int run(Arguments& arguments) {
  prepare_heap_for_serving();
  Server::block_signals();
  Log log(arguments.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  const auto plan = open_plan(arguments.path, arguments.speculation.drafter());
  ServerOptions& options = arguments.server;
  options.engine.num_speculative_tokens = arguments.speculation.num_speculative_tokens(*plan, arguments.path);
  const Tokenizer tokenizer = Tokenizer::open(plan->checkpoint().root());
  const std::unique_ptr<const Model> loaded = load_model(plan, arguments.model.options());
  const Model& model = *loaded;
  const MemoryPlan memory = plan_memory(model, options.engine, arguments.max_model_len, available_memory());
  options.engine.max_model_len = memory.max_model_len;

  ApiOptions& api = options.api;
  api.model_names = arguments.served_names.empty() ? std::vector{arguments.path} : arguments.served_names;
  api.model_root = arguments.path;
  api.version = OUTRIDER_VERSION;
  api.log_requests = !arguments.disable_log_requests;
  api.defaults = {default_sampling(plan->checkpoint().root().string()), memory.max_model_len,
                  end_tokens(*plan, tokenizer),
                  arguments.prompt_encoding == "0731" ? EncodingRelease::k0731 : EncodingRelease::kPreview};
  if (const char* key = std::getenv("OUTRIDER_API_KEY"); api.api_key.empty() && key != nullptr) api.api_key = key;

  options.expected_acceptance = expected_acceptance(*plan, arguments.expect_acceptance);
  options.explain_acceptance = [plan] { return causes_of_rejection(*plan); };

  Server server(model, tokenizer, options, log);
  const std::uint64_t weights = bytes_of(plan->checkpoint());
  log.info("Model loaded, complete.", {{"model", arguments.path},
                                       {"weights", bytes_text(weights)},
                                       {"kernels", model.kernels().name},
                                       {"threads", arguments.model.options().threads},
                                       {"num_speculative_tokens", options.engine.num_speculative_tokens}});
  log.info("Memory planned.", {{"max_num_seqs", options.engine.max_num_seqs},
                               {"max_model_len", memory.max_model_len},
                               {"kv_cache", bytes_text(memory.sequences)},
                               {"per_sequence", bytes_text(memory.sequence)},
                               {"scratch", bytes_text(memory.scratch)},
                               {"available", bytes_text(memory.available)}});
  if (weights > memory.available - memory.total()) {
    log.warning(
        "When all sequences are full, the weights no longer fit into memory beside them and are read from disk "
        "again and again. Fewer sequences (--max-num-seqs) or shorter ones (--max-model-len) leave them room.");
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
  auto arguments = std::make_shared<Arguments>();
  ServerOptions& server = arguments->server;
  CLI::App* command = app.add_subcommand("serve", "Serve a model over HTTP, as OpenAI's API and vLLM do");
  command->footer(
      "Endpoints: /v1/completions, /v1/chat/completions, /v1/models, /tokenize, /detokenize, /health, /version,\n"
      "/metrics. SIGTERM and SIGINT stop it when all requests are answered; a second one stops it at once.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or something else that was asked for is not possible.");
  command->add_option("MODEL", arguments->path, "Directory of the checkpoint, with its tokenizer.json")->required();
  command->add_option("--host", server.http.host, "Address to listen on")->capture_default_str();
  command->add_option("--port", server.http.port, "Port; 0: one that is free")->capture_default_str();
  command->add_option("--api-key", server.api.api_key,
                      "Ask for this key (Authorization: Bearer …); else OUTRIDER_API_KEY of the environment");
  command->add_option("--served-model-name", arguments->served_names, "Names it answers to; default: MODEL as given");
  command
      ->add_option("--max-model-len", arguments->max_model_len,
                   "Tokens of a prompt and what follows, at most; default: the model's context, or what fits")
      ->check(CLI::PositiveNumber);
  command->add_option("--max-num-seqs", server.engine.max_num_seqs, "Texts that are written at once")
      ->check(CLI::Range(std::size_t{1}, std::size_t{4096}))
      ->capture_default_str();
  command
      ->add_option("--max-num-batched-tokens", server.engine.max_num_batched_tokens,
                   "Tokens that one step processes, prompts' among them")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--max-waiting", server.engine.max_waiting, "Requests that wait; past them the answer is 429")
      ->check(CLI::Range(std::size_t{0}, std::size_t{1} << 20))
      ->capture_default_str();
  command->add_option("--seed", server.api.seed, "For requests that have none; default: a new one at each start");
  add_speculation_options(*command, arguments->speculation);
  add_expect_acceptance_option(*command, arguments->expect_acceptance);
  command->add_flag("--fail-on-suspect", server.fail_on_suspect,
                    "/health answers 503, not 200, where next to none of the drafts are accepted");
  command
      ->add_option("--prompt-encoding", arguments->prompt_encoding,
                   "Levels of reasoning effort: of the preview release, or of V4-Flash-0731")
      ->check(CLI::IsMember({"preview", "0731"}))
      ->capture_default_str();
  command->add_flag("--disable-log-requests", arguments->disable_log_requests, "Log no requests");
  command
      ->add_option("--log-format", arguments->log_format, "Of the log on standard error: text, or a JSON object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command
      ->add_option("--shutdown-timeout", arguments->shutdown_timeout,
                   "Seconds that requests have to finish when the server is stopped")
      ->check(CLI::Range(0U, 86400U))
      ->capture_default_str();
  add_model_options(*command, arguments->model);
  command->callback([arguments, &status] {
    arguments->server.shutdown_timeout = std::chrono::seconds(arguments->shutdown_timeout);
    status = run(*arguments);
  });
}

}  // namespace outrider
