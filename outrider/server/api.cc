#include "outrider/server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "outrider/grammar/masks/grammar_mask.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/prompt/python_json.h"
#include "outrider/server/generation_call.h"
#include "outrider/server/static_files.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

HttpResponse json(const ordered_json& body, unsigned status = 200) {
  return {status, "application/json", body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), {}};
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

// Constant time: does not depend on where the strings differ.
bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  }
  return difference == 0;
}

ordered_json parse_body(const HttpRequest& request) {
  std::string type = request.content_type.substr(0, request.content_type.find(';'));
  std::erase(type, ' ');
  // A page of another origin cannot send this type without a CORS preflight.
  if (lower_case(type) != "application/json") {
    throw ApiError(415, fmt::format("The body must be sent as Content-Type: application/json, not \"{}\".",
                                    printable(request.content_type)));
  }
  try {
    ordered_json body = parse_python_json(request.body, "The body of the request");
    if (!body.is_object()) throw ApiError(422, "The body of the request must be a JSON object.");
    return body;
  } catch (const ApiError&) {
    throw;
  } catch (const Error& e) {
    throw ApiError(400, e.what());
  }
}

constexpr std::string_view kModelsPrefix = "/v1/models/";

struct Endpoint {
  std::string_view path;
  std::string_view method;
};
constexpr Endpoint kEndpoints[] = {
    {"/health", "GET"},    {"/version", "GET"},     {"/metrics", "GET"},         {"/v1/models", "GET"},
    {"/tokenize", "POST"}, {"/detokenize", "POST"}, {"/v1/completions", "POST"}, {"/v1/chat/completions", "POST"},
};

const Endpoint* find_endpoint(std::string_view path) {
  const auto* found =
      std::ranges::find(kEndpoints, path.starts_with(kModelsPrefix) ? "/v1/models" : path, &Endpoint::path);
  return found == std::end(kEndpoints) ? nullptr : found;
}

// The value of the header Allow; HEAD is answered like GET.
const char* methods_of(std::string_view path) {
  return find_endpoint(path)->method == "GET" ? "GET, HEAD" : "POST";
}

}  // namespace

Api::Api(ApiOptions options, Engine& engine, const Tokenizer& tokenizer, const Metrics& metrics, Log& log,
         std::function<Health()> health)
    : options_(std::move(options)),
      engine_(engine),
      tokenizer_(tokenizer),
      constraints_(tokenizer),
      metrics_(metrics),
      log_(log),
      health_(std::move(health)),
      created_(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      seeds_(options_.seed ? *options_.seed : std::random_device{}()) {}

void Api::handle(HttpRequest request, const std::shared_ptr<HttpResponder>& responder) {
  // Reading a body may take long (tokenization, schema compilation); other requests must be answered meanwhile.
  if (request.method != "POST") return answer(request, responder);
  responder->run_aside([this, request = std::move(request), responder] { answer(request, responder); });
}

void Api::answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
  HttpResponse response;
  bool answered_later = false;
  const auto error = [&](unsigned status, const char* message, const std::string& param = {},
                         const std::string& code = {}) {
    answered_later = false;
    response = {status, "application/json", error_json(status, message, param, code), {}};
    if (status == 401) response.headers = "WWW-Authenticate: Bearer\r\n";
    if (status == 429 || status == 503) response.headers = "Retry-After: 1\r\n";
    if (status == 405) response.headers = fmt::format("Allow: {}\r\n", methods_of(request.path));
  };
  try {
    response = route(request, responder, answered_later);
  } catch (const ApiError& e) {
    error(e.status(), e.what(), e.param(), e.code());
  } catch (const QueueFull& e) {
    error(429, e.what());
  } catch (const ShuttingDown& e) {
    error(503, e.what());
  } catch (const Error& e) {
    error(400, e.what());
  } catch (const std::exception& e) {
    error(500, e.what());
  }
  if (answered_later) return;
  if (options_.log_requests && (response.status >= 400 || request.path.starts_with("/v1/"))) {
    log_.info("request", {{"client", request.client},
                          {"method", request.method},
                          {"path", printable(request.path)},
                          {"status", response.status}});
  }
  responder->send(std::move(response));
}

HttpResponse Api::route(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder,
                        bool& answered_later) {
  const std::string& path = request.path;
  if (const StaticFile* file = find_static_file(path); file != nullptr && request.method == "GET") {
    return {200, std::string(file->content_type), std::string(file->body), {}};
  }
  const Endpoint* endpoint = find_endpoint(path);
  if (endpoint == nullptr) {
    throw ApiError(404, fmt::format("There is no endpoint {}.", printable(path)));
  }
  if (request.method != endpoint->method) {
    throw ApiError(405, fmt::format("{} expects {}, not {}.", path, endpoint->method, printable(request.method)));
  }
  if (path == "/health") return health();
  if (path == "/version") return json({{"version", options_.version}});
  if (path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_.text(), {}};
  authorize(request);
  if (endpoint->path == "/v1/models") return models(request);
  const ordered_json body = parse_body(request);
  if (path == "/tokenize") return tokenize(body);
  if (path == "/detokenize") return detokenize(body);
  generate(path == "/v1/chat/completions", body, request, responder);
  answered_later = true;
  return {};
}

void Api::authorize(const HttpRequest& request) const {
  if (options_.api_key.empty()) return;
  constexpr std::string_view kScheme = "bearer ";
  std::string_view given = request.authorization;
  if (lower_case(given.substr(0, kScheme.size())) == kScheme &&
      same_secret(given.substr(kScheme.size()), options_.api_key))
    return;
  throw ApiError(401,
                 given.empty() ? "The server requires an API key: send it as Authorization: Bearer <key>."
                               : "The API key is wrong.",
                 {}, "invalid_api_key");
}

HttpResponse Api::health() const {
  const Health health = health_();
  if (!health.serving) return json({{"status", "shutting down"}}, 503);
  if (health.degraded.empty()) return json({{"status", "ok"}});
  return json({{"status", "degraded"}, {"reason", health.degraded}}, health.fail_on_degraded ? 503 : 200);
}

HttpResponse Api::models(const HttpRequest& request) const {
  ordered_json list = ordered_json::array();
  for (const std::string& name : options_.model_names) {
    ordered_json model = {{"id", name},
                          {"object", "model"},
                          {"created", created_},
                          {"owned_by", "outrider"},
                          {"root", options_.model_root},
                          {"parent", nullptr},
                          {"max_model_len", options_.defaults.max_model_len}};
    if (request.path.starts_with(kModelsPrefix) && request.path.substr(kModelsPrefix.size()) == name) {
      return json(model);
    }
    list.push_back(std::move(model));
  }
  if (request.path.starts_with(kModelsPrefix)) {
    throw ApiError(
        404, fmt::format("The model \"{}\" does not exist.", printable(request.path.substr(kModelsPrefix.size()))),
        "model", "model_not_found");
  }
  return json({{"object", "list"}, {"data", std::move(list)}});
}

std::string Api::check_model(const Fields& fields) const {
  const std::string name = fields.text("model").value_or(options_.model_names[0]);
  if (std::ranges::find(options_.model_names, name) != options_.model_names.end()) return name;
  throw ApiError(404,
                 fmt::format("The model \"{}\" does not exist; this server serves \"{}\".", printable(name),
                             options_.model_names[0]),
                 "model", "model_not_found");
}

HttpResponse Api::tokenize(const ordered_json& body) const {
  const Fields fields(body);
  check_model(fields);
  std::vector<TokenId> ids;
  if (fields.find("messages") != nullptr) {
    ids = chat_prompt(body, tokenizer_, options_.defaults.encoding, options_.defaults.chat_template_kwargs).ids;
  } else {
    const std::optional<std::string> prompt = fields.text("prompt");
    if (!prompt) fields.wrong_type("prompt", "a string (or \"messages\", a list of them)");
    ids = fields.flag("add_special_tokens").value_or(true) ? text_prompt_ids(tokenizer_, *prompt)
                                                           : chat_prompt_ids(tokenizer_, *prompt);
  }
  ordered_json answer = {{"count", ids.size()},
                         {"max_model_len", options_.defaults.max_model_len},
                         {"tokens", ids},
                         {"token_strs", nullptr}};
  if (fields.flag("return_token_strs").value_or(false)) {
    answer["token_strs"] = ordered_json::array();
    for (const TokenId id : ids) answer["token_strs"].push_back(tokenizer_.id_to_token(id).value_or(""));
  }
  return json(answer);
}

HttpResponse Api::detokenize(const ordered_json& body) const {
  const Fields fields(body);
  check_model(fields);
  const ordered_json* tokens = fields.find("tokens");
  if (tokens == nullptr || !tokens->is_array()) fields.wrong_type("tokens", "a list of token ids");
  return json({{"prompt", tokenizer_.decode(token_ids(*tokens), false)}});
}

std::uint64_t Api::draw_seed() {
  const std::lock_guard lock(mutex_);
  return seeds_();
}

void Api::generate(bool chat, const ordered_json& body, const HttpRequest& request,
                   const std::shared_ptr<HttpResponder>& responder) {
  const Fields fields(body);
  CallOptions call;
  call.model = check_model(fields);
  GenerationRequest asked = chat ? read_chat_request(body, tokenizer_, options_.defaults)
                                 : read_completion_request(fields, tokenizer_, options_.defaults);
  const bool reasoning = chat && asked.thinking_mode == ThinkingMode::kThinking;
  if (auto allowed = constraints_.read(fields, chat, reasoning)) {
    call.mask = [allowed = std::move(allowed)] { return make_mask(allowed); };
  }
  call.seed = draw_seed();
  if (options_.log_requests) {
    const auto begun = std::chrono::steady_clock::now();
    call.on_end = [this, begun, client = request.client, path = request.path](const CallSummary& summary) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
      log_.info("request", {{"id", summary.id},
                            {"client", client},
                            {"method", "POST"},
                            {"path", path},
                            {"status", summary.status},
                            {"finish_reason", summary.finish_reason},
                            {"prompt_tokens", summary.prompt_tokens},
                            {"cached_tokens", summary.cached_tokens},
                            {"completion_tokens", summary.completion_tokens},
                            {"draft_tokens", summary.speculation.draft_tokens},
                            {"accepted_tokens", summary.speculation.accepted_tokens},
                            {"seconds", std::round(seconds * 1000) / 1000}});
    };
  }
  start_generation_call(engine_, tokenizer_, std::move(asked), std::move(call), responder);
}

}  // namespace outrider
