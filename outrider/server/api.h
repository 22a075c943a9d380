#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/engine/engine.h"
#include "outrider/server/api_error.h"
#include "outrider/server/constraint.h"
#include "outrider/server/generation_call.h"
#include "outrider/server/generation_request.h"
#include "outrider/server/http/http_message.h"
#include "outrider/server/log.h"
#include "outrider/server/metrics/metrics.h"

namespace outrider {

struct ApiOptions {
  std::vector<std::string> model_names;  // never empty; responses carry the first
  std::string model_root;
  std::string version;
  std::string api_key;  // empty: none is required
  RequestDefaults defaults;
  std::optional<std::uint64_t> seed;  // for requests without one; none: random at each start
  bool log_requests = true;
  SpecDecodeMetrics spec_decode_metrics = SpecDecodeMetrics::kNone;
};

struct Health {
  bool serving = true;
  std::string degraded;  // the reason; empty if healthy
  bool fail_on_degraded = false;
};

// Routes requests to the endpoints of docs/serving.md. The constructor's arguments must outlive it.
class Api {
 public:
  Api(ApiOptions options, Engine& engine, const Tokenizer& tokenizer, Metrics& metrics, Log& log,
      std::function<Health()> health);

  // The endpoint of a path, or "none": a label of metrics, so paths with a model's name are one, and unknown paths,
  // too.
  static std::string endpoint(std::string_view path);
  // Refuses a request by its header: an unknown path, a wrong method or type of body, a missing or wrong key.
  std::optional<HttpResponse> admit(const HttpRequest& header) const;
  // Starts answering one request that was admitted, and returns without waiting for generation.
  void handle(HttpRequest request, const std::shared_ptr<HttpResponder>& responder);

 private:
  void answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder);
  void try_to_answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder);
  // Nothing if the response follows later.
  std::optional<HttpResponse> route(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder);
  HttpResponse refusal(const HttpRequest& request, const ApiError& error) const;
  void log_request(const HttpRequest& request, unsigned status) const;
  HttpResponse health() const;
  HttpResponse models(const HttpRequest& request) const;
  HttpResponse tokenize(const nlohmann::ordered_json& body, const std::stop_token& gone) const;
  HttpResponse detokenize(const nlohmann::ordered_json& body) const;
  void generate(bool chat, const nlohmann::ordered_json& body, const HttpRequest& request,
                const std::shared_ptr<HttpResponder>& responder);
  void authorize(const HttpRequest& header) const;
  std::string check_model(const Fields& fields) const;
  std::uint64_t draw_seed();

  ApiOptions options_;
  Engine& engine_;
  const Tokenizer& tokenizer_;
  Constraints constraints_;
  Metrics& metrics_;
  Log& log_;
  std::function<Health()> health_;
  std::int64_t created_;
  std::mutex mutex_;
  std::mt19937_64 seeds_;
};

}  // namespace outrider
