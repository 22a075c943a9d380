#include "outrider/benchmark/serve_benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <memory>
#include <random>
#include <utility>

#include "outrider/benchmark/event_stream.h"
#include "outrider/benchmark/speculation_metrics.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/seconds.h"

namespace outrider {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr std::size_t kMaxErrorBody = 4096;

// A string of an object, or of an object within it; empty if absent.
std::string text_at(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// One request in progress.
class Measurement {
 public:
  Measurement(RequestOutcome& outcome, Clock::time_point run_start) : outcome_(outcome), sent_(Clock::now()) {
    outcome_.start = seconds(sent_ - run_start);
  }

  void on_data(unsigned status, std::string_view piece) {
    if (status != 200) {
      refusal_ += piece.substr(0, kMaxErrorBody - refusal_.size());
      return;
    }
    const Clock::time_point now = Clock::now();
    stream_.push(piece, [&](std::string_view data) { on_event(data, now); });
  }

  void on_end(unsigned status, const std::string& error) {
    std::string& why = outcome_.error;
    if (!error.empty()) {
      why = error;
    } else if (status != 200) {
      why = fmt::format("status {}: {}", status, message_of(refusal_));
    } else if (why.empty() && chunks_ == 0) {
      why = "the response has no tokens";
    }
    if (outcome_.output_tokens == 0) outcome_.output_tokens = chunks_;  // the server reports no usage
    outcome_.latency = seconds(last_ - sent_);
  }

 private:
  static std::string message_of(const std::string& body) {
    const json object = json::parse(body, nullptr, false);
    std::string message = text_at(object, "message");
    if (object.is_object() && object.contains("error")) message = text_at(object["error"], "message");
    return printable(message.empty() ? body : message, 400);
  }

  void on_event(std::string_view data, Clock::time_point now) {
    if (data == "[DONE]") return;
    json event;
    try {
      event = parse_bounded_json(data, "an event of the stream");
    } catch (const Error& e) {
      outcome_.error = e.what();
      return;
    }
    if (event.is_object() && event.contains("error")) {
      outcome_.error = message_of(std::string(data));
      return;
    }
    if (const auto choices = event.is_object() ? event.find("choices") : event.end();
        choices != event.end() && choices->is_array() && !choices->empty()) {
      if (chunks_ == 0) {
        outcome_.ttft = seconds(now - sent_);
      } else {
        outcome_.itl.push_back(seconds(now - last_));
      }
      ++chunks_;
      last_ = now;
      const json& choice = choices->front();
      outcome_.text += text_at(choice, "text");
      if (choice.is_object() && choice.contains("delta")) {
        outcome_.text += text_at(choice["delta"], "reasoning_content") + text_at(choice["delta"], "content");
      }
    }
    if (const auto usage = event.is_object() ? event.find("usage") : event.end();
        usage != event.end() && usage->is_object()) {
      const auto count = [&](const char* key, std::size_t& to) {
        const auto found = usage->find(key);
        if (found != usage->end() && found->is_number_unsigned()) to = found->get<std::size_t>();
      };
      count("prompt_tokens", outcome_.prompt_tokens);
      count("completion_tokens", outcome_.output_tokens);
    }
  }

  RequestOutcome& outcome_;
  Clock::time_point sent_;
  Clock::time_point last_ = sent_;
  EventStream stream_;
  std::size_t chunks_ = 0;
  std::string refusal_;
};

std::optional<SpeculationCounts> read_counters(HttpClient& client) {
  try {
    const HttpAnswer answer = client.get("/metrics");
    return answer.status == 200 ? read_speculation_metrics(answer.body) : std::nullopt;
  } catch (const Error&) {
    return {};  // the requests will report an unreachable server
  }
}

// Nothing if no draft was made, or if counters were reset because another server answers now.
std::optional<SpeculationCounts> growth(const std::optional<SpeculationCounts>& before,
                                        const std::optional<SpeculationCounts>& after) {
  if (!before || !after || after->drafts <= before->drafts || after->draft_tokens <= before->draft_tokens ||
      after->accepted_tokens < before->accepted_tokens) {
    return {};
  }
  SpeculationCounts grown = *after;
  grown.drafts -= before->drafts;
  grown.draft_tokens -= before->draft_tokens;
  grown.accepted_tokens -= before->accepted_tokens;
  const std::vector<std::uint64_t>& earlier = before->accepted_per_position;
  std::vector<std::uint64_t>& positions = grown.accepted_per_position;
  if (positions.size() < earlier.size()) return {};
  for (std::size_t i = 0; i < earlier.size(); ++i) {
    if (positions[i] < earlier[i]) return {};
    positions[i] -= earlier[i];
  }
  return grown;
}

// All requests of one run.
class Run {
 public:
  Run(HttpClient& client, std::span<const BenchmarkPrompt> prompts, const ServeBenchmarkOptions& options,
      std::function<void(std::size_t done, std::size_t total)> progress)
      : client_(client), prompts_(prompts), options_(options), progress_(std::move(progress)) {
    outcomes_.resize(prompts.size());
    for (std::size_t i = 0; i < prompts.size(); ++i) outcomes_[i].prompt_tokens = prompts[i].prompt_tokens;
  }

  double run(std::span<const double> arrivals) {
    start_ = Clock::now();
    arrivals_ = arrivals;
    arrive();
    client_.run();
    return seconds(Clock::now() - start_);
  }

  std::vector<RequestOutcome> take_outcomes() { return std::move(outcomes_); }

 private:
  // Sends the prompts that are due, in order, and waits for the next.
  void arrive() {
    for (; arrived_ < arrivals_.size(); ++arrived_) {
      const auto time =
          start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(arrivals_[arrived_]));
      if (time > Clock::now()) {
        client_.at(time, [this] { arrive(); });
        break;
      }
      waiting_.push_back({arrived_, Clock::now()});
    }
    send();
  }

  void send() {
    while (!waiting_.empty() && (!options_.max_concurrency || running_ < *options_.max_concurrency)) {
      const auto [index, arrived] = waiting_.front();
      waiting_.pop_front();
      ++running_;
      std::string body =
          request_body(prompts_[index], options_).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      auto measurement = std::make_shared<Measurement>(outcomes_[index], start_);
      outcomes_[index].queue_time = outcomes_[index].start - seconds(arrived - start_);
      std::vector<HttpHeader> headers;
      if (!options_.request_id_prefix.empty()) {
        headers.push_back({"x-request-id", options_.request_id_prefix + std::to_string(index)});
      }
      client_.start_post(
          options_.endpoint, std::move(body), headers,
          {[measurement](unsigned status, std::string_view piece) { measurement->on_data(status, piece); },
           [this, measurement](unsigned status, const std::string& error) {
             measurement->on_end(status, error);
             --running_;
             ++done_;
             if (progress_) progress_(done_, prompts_.size());
             send();
           }});
    }
  }

  struct Waiting {
    std::size_t index = 0;
    Clock::time_point arrived;
  };

  HttpClient& client_;
  std::span<const BenchmarkPrompt> prompts_;
  const ServeBenchmarkOptions& options_;
  std::function<void(std::size_t done, std::size_t total)> progress_;
  std::vector<RequestOutcome> outcomes_;
  Clock::time_point start_;
  std::span<const double> arrivals_;
  std::size_t arrived_ = 0;
  std::deque<Waiting> waiting_;
  std::size_t running_ = 0;
  std::size_t done_ = 0;
};

void validate(const ServeBenchmarkOptions& options) {
  if (!(options.request_rate > 0)) throw Error("The request rate must be greater than 0 requests per second, or inf.");
  if (!(options.burstiness > 0)) throw Error("The burstiness must be greater than 0.");
  if (options.max_concurrency == std::size_t{0}) throw Error("The maximum concurrency must be at least 1.");
  if (!options.endpoint.starts_with('/')) throw Error("The endpoint must be a path, such as /v1/completions.");
}

}  // namespace

nlohmann::ordered_json request_body(const BenchmarkPrompt& prompt, const ServeBenchmarkOptions& options) {
  nlohmann::ordered_json body = {{"model", options.model}};
  if (options.chat()) {
    const auto* text = std::get_if<std::string>(&prompt.prompt);
    if (text == nullptr) throw Error("Chats need prompts that are strings; send token ids to /v1/completions.");
    body["messages"] = {{{"role", "user"}, {"content", *text}}};
    body["max_completion_tokens"] = prompt.output_tokens;
  } else {
    std::visit([&body](const auto& value) { body["prompt"] = value; }, prompt.prompt);
    body["max_tokens"] = prompt.output_tokens;
  }
  if (options.logprobs && options.chat()) {
    body["logprobs"] = true;
    body["top_logprobs"] = *options.logprobs;
  } else if (options.logprobs) {
    body["logprobs"] = *options.logprobs;
  }
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  if (options.ignore_eos) body["ignore_eos"] = true;
  body.update(options.extra_body);
  return body;
}

std::vector<double> arrival_times(std::size_t count, const ServeBenchmarkOptions& options) {
  std::vector<double> times(count, 0.0);
  if (count == 0 || std::isinf(options.request_rate)) return times;
  std::mt19937_64 engine(options.seed);
  std::gamma_distribution<double> interval(options.burstiness, 1 / (options.request_rate * options.burstiness));
  double now = 0;
  for (double& time : times) time = now += std::isinf(options.burstiness) ? 1 / options.request_rate : interval(engine);
  if (now > 0) {
    const double stretch = static_cast<double>(count) / options.request_rate / now;
    for (double& time : times) time *= stretch;
  }
  return times;
}

ServeRun run_serve_benchmark(HttpClient& client, std::span<const BenchmarkPrompt> prompts,
                             const ServeBenchmarkOptions& options,
                             const std::function<void(std::size_t done, std::size_t total)>& progress) {
  validate(options);
  if (prompts.empty()) throw Error("There are no prompts to send.");
  for (const BenchmarkPrompt& prompt : prompts) request_body(prompt, options);
  if (options.warmups != 0) {
    const std::vector<BenchmarkPrompt> first(options.warmups, prompts.front());
    Run warmup(client, first, options, {});
    const std::vector<double> at_once(options.warmups, 0.0);
    warmup.run(at_once);
    for (const RequestOutcome& outcome : warmup.take_outcomes()) {
      if (!outcome.success()) throw Error(fmt::format("A warmup request failed: {}.", outcome.error));
    }
  }
  ServeRun out;
  const std::optional<SpeculationCounts> before = read_counters(client);
  Run run(client, prompts, options, progress);
  const std::vector<double> arrivals = arrival_times(prompts.size(), options);
  out.duration = run.run(arrivals);
  out.outcomes = run.take_outcomes();
  out.speculation = growth(before, read_counters(client));
  return out;
}

}  // namespace outrider
