#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "outrider/decoding/acceptance_guard.h"
#include "outrider/server/api.h"
#include "outrider/server/http_server.h"
#include "outrider/server/log.h"

namespace outrider {

struct ServerOptions {
  HttpOptions http;
  EngineOptions engine;
  ApiOptions api;
  std::chrono::seconds shutdown_timeout{30};
  std::chrono::seconds report_interval{10};
  bool log_stats = true;  // vLLM's lines, each report_interval
  std::optional<AcceptanceExpectation> expected_acceptance;
  bool fail_on_suspect = false;  // /health answers 503 while the guard has a reason
  // Looks for what explains that drafts are rejected: sentences, for the log. May be empty; is called once.
  std::function<std::vector<std::string>()> explain_acceptance;
};

// One model, served over HTTP.
class Server {
 public:
  // Listens at once. Throws Error as Engine and HttpServer do. What it is given must outlive it.
  Server(const Model& model, const Tokenizer& tokenizer, ServerOptions options, Log& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  // Blocks SIGINT and SIGTERM in this thread and those it starts; to be called before any is started.
  static void block_signals();
  // Serves until one of them comes, then stops taking requests and ends when all are answered, or, after
  // shutdown_timeout, cut short. Another signal ends the process at once.
  void run();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace outrider
