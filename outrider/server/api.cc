#include "outrider/server/api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "outrider/grammar/masks/grammar_mask.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/prompt/python_json.h"
#include "outrider/server/chat_prompt.h"
#include "outrider/server/request_fields.h"
#include "outrider/server/static_files.h"
#include "outrider/util/dumped_json.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

// Token ids of one request to /detokenize: a token may have hundreds of bytes.
constexpr std::uint64_t kMaxDetokenized = std::uint64_t{1} << 20;

HttpResponse json(const ordered_json& body, unsigned status = 200) {
  return {status, "application/json", dumped_json(body), {}};
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

// A page of another origin cannot send this type without a CORS preflight.
void require_json(const HttpRequest& header) {
  std::string type = header.content_type.substr(0, header.content_type.find(';'));
  std::erase(type, ' ');
  if (lower_case(type) != "application/json") {
    throw ApiError(415, fmt::format("The body must be sent as Content-Type: application/json, not \"{}\".",
                                    printable(header.content_type)));
  }
}

ordered_json parse_body(const HttpRequest& request) {
  ordered_json body = parse_python_json(request.body, "The body of the request");
  if (!body.is_object()) throw ApiError(422, "The body of the request must be a JSON object.");
  return body;
}

void expect_present(const std::stop_token& gone) {
  constexpr unsigned kGone = 499;  // nginx's, for the log
  if (gone.stop_requested()) throw ApiError(kGone, "The client has disconnected.");
}

constexpr std::string_view kModelsPrefix = "/v1/models/";

struct Endpoint {
  std::string_view path;
  std::string_view method;
  bool open = false;  // needs no key
};
constexpr Endpoint kEndpoints[] = {
    {"/health", "GET", true}, {"/version", "GET", true}, {"/metrics", "GET", true},   {"/v1/models", "GET"},
    {"/tokenize", "POST"},    {"/detokenize", "POST"},   {"/v1/completions", "POST"}, {"/v1/chat/completions", "POST"},
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

Api::Api(ApiOptions options, Engine& engine, const Tokenizer& tokenizer, Metrics& metrics, Log& log,
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

std::string Api::endpoint(std::string_view path) {
  if (path.starts_with(kModelsPrefix)) return std::string(kModelsPrefix) + "{model}";
  return std::string(find_endpoint(path) != nullptr || find_static_file(path) != nullptr ? path : "none");
}

std::optional<HttpResponse> Api::admit(const HttpRequest& header) const {
  try {
    const std::string& path = header.path;
    const Endpoint* endpoint = find_endpoint(path);
    const bool get = header.method == "GET";
    const bool page = get && find_static_file(path) != nullptr;
    // Nobody has shown a key there.
    if (get && header.has_body && (page || (endpoint != nullptr && endpoint->open))) {
      throw ApiError(400, fmt::format("A request for {} has no body; send it without one.", path));
    }
    if (page) return std::nullopt;
    if (endpoint == nullptr) throw ApiError(404, fmt::format("There is no endpoint {}.", printable(path)));
    if (header.method != endpoint->method) {
      throw ApiError(405, fmt::format("{} expects {}, not {}.", path, endpoint->method, printable(header.method)));
    }
    if (!endpoint->open) authorize(header);
    if (header.method == "POST") require_json(header);
    return std::nullopt;
  } catch (const ApiError& e) {
    return refusal(header, e);
  }
}

void Api::handle(HttpRequest request, const std::shared_ptr<HttpResponder>& responder) {
  // Reading a body may take long (tokenization, schema compilation); other requests must be answered meanwhile.
  if (request.method != "POST") return answer(request, responder);
  responder->run_aside([this, request = std::move(request), responder] { answer(request, responder); });
}

void Api::answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
  try {
    try_to_answer(request, responder);
    return;
  } catch (const std::exception&) {
    // There is no memory for the answer; if there is none for the refusal either, the connection ends.
  }
  try {
    responder->send(refusal(request, ApiError(503, kOutOfMemory)));
  } catch (const std::exception&) {
    responder->abort();
  }
}

void Api::try_to_answer(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
  std::optional<HttpResponse> response;
  try {
    response = route(request, responder);
  } catch (const ApiError& e) {
    response = refusal(request, e);
  } catch (const QueueFull& e) {
    metrics_.on_queue_full();
    response = refusal(request, ApiError(429, e.what()));
  } catch (const ShuttingDown& e) {
    response = refusal(request, ApiError(503, e.what()));
  } catch (const Error& e) {
    response = refusal(request, ApiError(400, e.what()));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    response = refusal(request, ApiError(500, e.what()));
  }
  if (!response) return;
  if (response->status < 400 && request.path.starts_with("/v1/")) log_request(request, response->status);
  responder->send(std::move(*response));
}

HttpResponse Api::refusal(const HttpRequest& request, const ApiError& error) const {
  const unsigned status = error.status();
  HttpResponse response = {
      status, "application/json", error_json(status, error.what(), error.param(), error.code()), {}};
  if (status == 401) response.headers = "WWW-Authenticate: Bearer\r\n";
  if (status == 429 || status == 503) response.headers = "Retry-After: 1\r\n";
  if (status == 405) response.headers = fmt::format("Allow: {}\r\n", methods_of(request.path));
  log_request(request, status);
  return response;
}

void Api::log_request(const HttpRequest& request, unsigned status) const {
  if (!options_.log_requests) return;
  log_.info(
      "request",
      {{"client", request.client}, {"method", request.method}, {"path", printable(request.path)}, {"status", status}});
}

std::optional<HttpResponse> Api::route(const HttpRequest& request, const std::shared_ptr<HttpResponder>& responder) {
  const std::string& path = request.path;
  if (const StaticFile* file = find_static_file(path)) {
    return HttpResponse{200, std::string(file->content_type), std::string(file->body), {}};
  }
  if (path == "/health") return health();
  if (path == "/version") return json({{"version", options_.version}});
  if (path == "/metrics") return HttpResponse{200, "text/plain; version=0.0.4; charset=utf-8", metrics_.text(), {}};
  if (request.method == "GET") return models(request);
  const ordered_json body = parse_body(request);
  if (path == "/tokenize") return tokenize(body, request.gone);
  if (path == "/detokenize") return detokenize(body);
  generate(path == "/v1/chat/completions", body, request, responder);
  return std::nullopt;
}

void Api::authorize(const HttpRequest& header) const {
  if (options_.api_key.empty()) return;
  constexpr std::string_view kScheme = "bearer ";
  std::string_view given = header.authorization;
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

HttpResponse Api::tokenize(const ordered_json& body, const std::stop_token& gone) const {
  const Fields fields(body);
  check_fields(fields, FieldPlace::kTokenize);
  check_model(fields);
  std::vector<TokenId> ids;
  if (fields.find("messages") != nullptr) {
    ids = chat_ids(fields, read_chat_prompt(fields, options_.defaults), tokenizer_, gone);
  } else {
    const std::optional<std::string> prompt = fields.text("prompt");
    if (!prompt) fields.wrong_type("prompt", "a string (or \"messages\", a list of them)");
    ids = fields.flag("add_special_tokens").value_or(true) ? text_prompt_ids(tokenizer_, *prompt, gone)
                                                           : chat_prompt_ids(tokenizer_, *prompt, gone);
  }
  expect_present(gone);
  // A JSON value would take many times the memory of a long list.
  std::string answer = fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}],"token_strs":)", ids.size(),
                                   options_.defaults.max_model_len, fmt::join(ids, ","));
  if (fields.flag("return_token_strs").value_or(false)) {
    answer += '[';
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i % 4096 == 0) expect_present(gone);
      if (i != 0) answer += ',';
      answer += dumped_json(tokenizer_.id_to_token(ids[i]).value_or(""));
    }
    answer += "]}";
  } else {
    answer += "null}";
  }
  return {200, "application/json", std::move(answer), {}};
}

HttpResponse Api::detokenize(const ordered_json& body) const {
  const Fields fields(body);
  check_fields(fields, FieldPlace::kDetokenize);
  check_model(fields);
  const auto tokens = fields.token_ids("tokens", options_.defaults.vocab_size);
  if (!tokens) fields.wrong_type("tokens", "a list of token ids");
  if (const std::uint64_t most = std::max(kMaxDetokenized, options_.defaults.max_model_len); tokens->size() > most) {
    fields.refuse("tokens",
                  fmt::format("has {} token ids; the maximum is {}. Send them in parts.", tokens->size(), most));
  }
  return json({{"prompt", tokenizer_.decode(*tokens, false)}});
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
  GenerationRequest asked = chat ? read_chat_request(body, tokenizer_, options_.defaults, request.gone)
                                 : read_completion_request(fields, tokenizer_, options_.defaults, request.gone);
  expect_present(request.gone);
  const bool reasoning = chat && asked.thinking_mode == ThinkingMode::kThinking;
  if (auto allowed = constraints_.read(fields, chat, reasoning)) {
    call.mask = [allowed = std::move(allowed)] { return make_mask(allowed); };
  }
  call.seed = draw_seed();
  call.spec_decode_metrics = options_.spec_decode_metrics;
  const auto begun = std::chrono::steady_clock::now();
  call.on_end = [this, begun, client = request.client, path = request.path](const CallSummary& summary) {
    metrics_.on_call(summary.n, summary.most_generated);
    if (!options_.log_requests) return;
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
  start_generation_call(engine_, tokenizer_, std::move(asked), std::move(call), responder);
}

}  // namespace outrider
