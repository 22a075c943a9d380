#include "outrider/server/server.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "outrider/decoding/drafter_methods.h"
#include "outrider/server/metrics/metrics.h"
#include "outrider/server/periodic_report.h"

namespace outrider {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

struct Server::Parts : EngineObserver {
  Parts(const Model& model, const Tokenizer& tokenizer, ServerOptions given, Log& to)
      : options(std::move(given)),
        log(to),
        metrics(options.api.model_names.at(0), options.engine),
        guard(options.expected_acceptance),
        engine(model, tokenizer, options.engine, this),
        api(options.api, engine, tokenizer, metrics, log, [this] { return health(); }),
        http(options.http, {.handle =
                                [this](HttpRequest request, const std::shared_ptr<HttpResponder>& responder) {
                                  api.handle(std::move(request), responder);
                                },
                            .admit = [this](const HttpRequest& header) { return api.admit(header); },
                            .on_answered = [this](const HttpExchange& exchange) { record(exchange); },
                            .on_refused = [this](std::size_t connections) { log_refusal(connections); }}) {}

  void on_step(const StepReport& step) override {
    metrics.on_step(step);
    report.add(step);
    if (step.rounds.empty() || !drafter_is_trained(options.engine.speculative_config)) return;
    const std::lock_guard lock(guard_mutex);
    for (const RoundReport& each : step.rounds) guard.add(each.round, each.sampled);
    metrics.set_suspect(guard.suspect());
  }
  void on_finished(const RequestReport& request) override { metrics.on_finished(request); }

  Health health() const {
    Health health;
    health.serving = !stopping;
    health.fail_on_degraded = options.fail_on_suspect;
    health.degraded = suspicion();
    return health;
  }
  // Empty while the guard has no reason.
  std::string suspicion() const {
    const std::lock_guard lock(guard_mutex);
    return guard.suspect() ? guard.reason() : std::string();
  }
  // As in vLLM, what watches the server is not counted.
  void record(const HttpExchange& exchange) {
    const std::string endpoint = Api::endpoint(exchange.path);
    if (endpoint == "/health" || endpoint == "/metrics" || endpoint == "/version") return;
    metrics.on_exchange(exchange, endpoint);
  }
  // Logs that a connection was refused, once a minute at most. Called on one thread at a time.
  void log_refusal(std::size_t connections) {
    const auto now = std::chrono::steady_clock::now();
    if (now - refused < std::chrono::minutes(1)) return;
    refused = now;
    log.warning("Connections are refused: there are as many as --max-connections allows, and none of them is idle.",
                {{"connections", connections}});
  }
  // Logs when drafts are no longer accepted, and when they are accepted again.
  void log_acceptance() {
    const std::string reason = suspicion();
    if (reason.empty() == std::exchange(healthy, reason.empty())) return;
    if (reason.empty()) return log.info("Drafts are accepted again.");
    if (options.explain_acceptance) causes = std::exchange(options.explain_acceptance, nullptr)();
    nlohmann::ordered_json fields;
    if (!causes.empty()) fields["likely_causes"] = causes;
    log.warning(reason + " Outputs stay correct; generation is only slower.", fields);
  }

  ServerOptions options;
  Log& log;
  Metrics metrics;
  PeriodicReport report;
  mutable std::mutex guard_mutex;
  AcceptanceGuard guard;
  bool healthy = true;              // as last logged
  std::vector<std::string> causes;  // of rejected drafts, once diagnosed
  std::chrono::steady_clock::time_point refused = std::chrono::steady_clock::now() - std::chrono::hours(1);
  std::atomic<bool> stopping = false;
  Engine engine;
  Api api;
  HttpServer http;  // destroyed first: its threads use the members above
};

Server::Server(const Model& model, const Tokenizer& tokenizer, ServerOptions options, Log& log)
    : parts_(std::make_unique<Parts>(model, tokenizer, std::move(options), log)) {}

Server::~Server() {
  parts_->stopping = true;
  parts_->http.shut_down();
  parts_->engine.drain(std::chrono::milliseconds(0));
}

std::uint16_t Server::port() const {
  return parts_->http.port();
}

void Server::block_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void Server::run() {
  Parts& p = *parts_;
  const sigset_t set = stop_signals();
  const auto interval = p.options.report_interval;
  auto last = std::chrono::steady_clock::now();
  const auto report = [&] {
    if (!p.options.log_stats) return;
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - std::exchange(last, now)).count();
    for (const std::string& line : p.report.lines(seconds)) p.log.info(line);
  };
  for (;;) {
    const timespec wait = {1, 0};
    const int signal = sigtimedwait(&set, nullptr, &wait);
    if (signal == SIGINT || signal == SIGTERM) break;
    try {
      p.log_acceptance();
      if (std::chrono::steady_clock::now() - last >= interval) report();
    } catch (const std::bad_alloc&) {
      // The log lacks these lines.
    }
  }
  p.log.info("Shutting down: no more requests are accepted; accepted ones are finished.",
             {{"timeout_seconds", p.options.shutdown_timeout.count()}});
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  p.stopping = true;
  const std::size_t cancelled = p.engine.drain(p.options.shutdown_timeout);
  p.http.shut_down();
  p.http.wait_closed(5000);
  report();
  p.log_acceptance();
  if (cancelled != 0) p.log.warning("Requests were cancelled at the shutdown timeout.", {{"requests", cancelled}});
  p.log.info("Stopped.");
}

}  // namespace outrider
