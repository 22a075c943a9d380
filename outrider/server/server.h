#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "outrider/decoding/acceptance_guard.h"
#include "outrider/server/api.h"
#include "outrider/server/http/http_server.h"
#include "outrider/server/log.h"

namespace outrider {

struct ServerOptions {
  HttpOptions http;
  EngineOptions engine;
  ApiOptions api;
  std::chrono::seconds shutdown_timeout{30};
  std::chrono::seconds report_interval{10};
  bool log_stats = true;  // vLLM's log lines, every report_interval
  std::optional<AcceptanceExpectation> expected_acceptance;
  bool fail_on_suspect = false;  // /health returns 503 while the guard has a reason
  // Diagnoses why drafts are rejected: sentences for the log. May be empty; called once at most.
  std::function<std::vector<std::string>()> explain_acceptance;
};

// Serves one model over HTTP.
class Server {
 public:
  // Starts listening. Throws Error as Engine and HttpServer do. The arguments must outlive it.
  Server(const Model& model, const Tokenizer& tokenizer, ServerOptions options, Log& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  // Blocks SIGINT and SIGTERM in this thread and the threads it starts; must be called before any are started.
  static void block_signals();
  // Serves until SIGINT or SIGTERM, then accepts no more requests and returns when all are answered; requests that are
  // not after shutdown_timeout are cancelled. A second signal ends the process at once.
  void run();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
