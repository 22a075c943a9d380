#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "outrider/engine/engine.h"
#include "outrider/server/constraint.h"
#include "outrider/server/generation_request.h"
#include "outrider/server/http_server.h"
#include "outrider/server/log.h"
#include "outrider/server/metrics.h"

namespace outrider {

struct ApiOptions {
  std::vector<std::string> model_names;  // never empty; responses carry the first
  std::string model_root;
  std::string version;
  std::string api_key;  // empty: none is required
  RequestDefaults defaults;
  std::optional<std::uint64_t> seed;  // for requests without one; none: random at each start
  bool log_requests = true;
};

struct Health {
  bool serving = true;
  std::string degraded;  // the reason; empty if healthy
  bool fail_on_degraded = false;
};

// Routes requests to the endpoints of docs/serving.md. The constructor's arguments must outlive it.
class Api {
 public:
  Api(ApiOptions options, Engine& engine, const Tokenizer& tokenizer, const Metrics& metrics, Log& log,
      std::function<Health()> health);

  // Starts answering one request and returns without waiting for generation. Does not throw.
  void handle(HttpRequest request, const std::shared_ptr<HttpResponder>& responder);

 private:
  void answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder);
  HttpResponse route(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder, bool& answered_later);
  HttpResponse health() const;
  HttpResponse models(const HttpRequest& request) const;
  HttpResponse tokenize(const nlohmann::ordered_json& body) const;
  HttpResponse detokenize(const nlohmann::ordered_json& body) const;
  void generate(bool chat, const nlohmann::ordered_json& body, const HttpRequest& request,
                const std::shared_ptr<HttpResponder>& responder);
  void authorize(const HttpRequest& request) const;
  std::string check_model(const Fields& fields) const;
  std::uint64_t draw_seed();

  ApiOptions options_;
  Engine& engine_;
  const Tokenizer& tokenizer_;
  Constraints constraints_;
  const Metrics& metrics_;
  Log& log_;
  std::function<Health()> health_;
  std::int64_t created_;
  std::mutex mutex_;
  std::mt19937_64 seeds_;
};

}  // namespace outrider
