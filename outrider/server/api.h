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
  std::vector<std::string> model_names;  // the first is shown; never empty
  std::string model_root;
  std::string version;
  std::string api_key;  // empty: none is asked for
  RequestDefaults defaults;
  std::optional<std::uint64_t> seed;  // for requests without one; none: drawn anew at each start
  bool log_requests = true;
};

struct Health {
  bool serving = true;
  std::string degraded;  // why; empty where all is well
  bool fail_on_degraded = false;
};

// The endpoints, as docs/serving.md lists them. What it refers to must outlive it.
class Api {
 public:
  Api(ApiOptions options, Engine& engine, const Tokenizer& tokenizer, const Metrics& metrics, Log& log,
      std::function<Health()> health);

  // Answers one request, soon. Throws nothing.
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
