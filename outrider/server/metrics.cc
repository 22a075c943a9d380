#include "outrider/server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <sstream>
#include <utility>
#include <vector>

namespace outrider {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// vLLM's (vllm/v1/metrics/loggers.py), since a dashboard's quantiles depend on them.
const Buckets kTimeToFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                   1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
const Buckets kBetweenTokens = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
const Buckets kLatency = {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                          30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr double kMostTokens = 1 << 20;

// 1, 2, 5, 10, 20, …
Buckets token_buckets() {
  Buckets buckets;
  for (double power = 1; power <= kMostTokens; power *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit * power <= kMostTokens) buckets.push_back(digit * power);
    }
  }
  return buckets;
}

constexpr std::array<std::pair<Outcome, const char*>, 5> kReasons = {{{Outcome::kStop, "stop"},
                                                                      {Outcome::kLength, "length"},
                                                                      {Outcome::kCancelled, "abort"},
                                                                      {Outcome::kRefused, "error"},
                                                                      {Outcome::kFailed, "error"}}};

}  // namespace

struct Metrics::Parts {
  Parts(const std::string& model_name, std::size_t num_speculative_tokens) : labels{{"model_name", model_name}} {
    for (const auto& [outcome, reason] : kReasons) {
      prometheus::Labels with_reason = labels;
      with_reason["finished_reason"] = reason;
      finished[static_cast<std::size_t>(outcome)] = &success.Add(with_reason);
    }
    accepted_at(num_speculative_tokens);
  }

  prometheus::Counter& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, buckets);
  }
  // Counters of the first `positions` positions; only the engine's thread adds to them.
  std::vector<prometheus::Counter*>& accepted_at(std::size_t positions) {
    while (per_position.size() < positions) {
      prometheus::Labels with_position = labels;
      with_position["position"] = std::to_string(per_position.size());
      per_position.push_back(&accepted_per_position.Add(with_position));
    }
    return per_position;
  }

  prometheus::Labels labels;
  prometheus::Registry registry;

  prometheus::Counter& drafts = counter("vllm:spec_decode_num_drafts_total", "Rounds of drafting.");
  prometheus::Counter& draft_tokens = counter("vllm:spec_decode_num_draft_tokens_total", "Tokens drafted.");
  prometheus::Counter& accepted_tokens =
      counter("vllm:spec_decode_num_accepted_tokens_total", "Drafted tokens that were accepted.");
  prometheus::Family<prometheus::Counter>& accepted_per_position =
      prometheus::BuildCounter()
          .Name("vllm:spec_decode_num_accepted_tokens_per_pos_total")
          .Help("Drafted tokens that were accepted, by their position in the draft.")
          .Register(registry);
  std::vector<prometheus::Counter*> per_position;

  prometheus::Counter& prompt_tokens = counter("vllm:prompt_tokens_total", "Tokens of prompts, known ones included.");
  prometheus::Counter& generation_tokens = counter("vllm:generation_tokens_total", "Tokens written.");
  prometheus::Counter& prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Tokens of prompts that were looked up among known texts.");
  prometheus::Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Tokens of prompts that were not processed again.");
  prometheus::Family<prometheus::Counter>& success = prometheus::BuildCounter()
                                                         .Name("vllm:request_success_total")
                                                         .Help("Requests that ended, by how.")
                                                         .Register(registry);
  std::array<prometheus::Counter*, kReasons.size()> finished{};

  prometheus::Gauge& running = gauge("vllm:num_requests_running", "Requests that are being written.");
  prometheus::Gauge& waiting = gauge("vllm:num_requests_waiting", "Requests that wait for their turn.");
  prometheus::Gauge& kv_usage =
      gauge("vllm:kv_cache_usage_perc", "Part of the planned memory that running texts fill; 1 is all of it.");
  prometheus::Gauge& suspect = gauge("outrider:spec_decode_suspect",
                                     "1 where drafts are accepted so rarely that the drafter must be faulty, else 0.");

  prometheus::Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", kTimeToFirstToken);
  prometheus::Histogram& inter_token = histogram(
      "vllm:inter_token_latency_seconds", "From one step that gave a request tokens to the next.", kBetweenTokens);
  prometheus::Histogram& per_output_token =
      histogram("vllm:time_per_output_token_seconds", "The same as vllm:inter_token_latency_seconds.", kBetweenTokens);
  prometheus::Histogram& request_per_output_token =
      histogram("vllm:request_time_per_output_token_seconds", "A request's mean time of each token but the first.",
                kBetweenTokens);
  prometheus::Histogram& latency =
      histogram("vllm:e2e_request_latency_seconds", "From a request's arrival to its end.", kLatency);
  prometheus::Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.", token_buckets());
  prometheus::Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Tokens written for a request.", token_buckets());
};

Metrics::Metrics(const std::string& model_name, std::size_t num_speculative_tokens)
    : parts_(std::make_unique<Parts>(model_name, num_speculative_tokens)) {}
Metrics::~Metrics() = default;

void Metrics::on_step(const StepReport& report) {
  Parts& p = *parts_;
  const auto add = [](prometheus::Counter& counter, std::uint64_t count) {
    if (count != 0) counter.Increment(static_cast<double>(count));
  };
  add(p.drafts, report.speculation.drafts);
  add(p.draft_tokens, report.speculation.draft_tokens);
  add(p.accepted_tokens, report.speculation.accepted_tokens);
  const std::vector<std::uint64_t>& accepted = report.speculation.accepted_per_position;
  std::vector<prometheus::Counter*>& counters = p.accepted_at(accepted.size());
  for (std::size_t i = 0; i < accepted.size(); ++i) add(*counters[i], accepted[i]);
  add(p.prompt_tokens, report.prompt_tokens);
  add(p.generation_tokens, report.generation_tokens);
  add(p.prefix_queries, report.prompt_tokens);
  add(p.prefix_hits, report.cached_tokens);
  p.running.Set(static_cast<double>(report.running));
  p.waiting.Set(static_cast<double>(report.waiting));
  p.kv_usage.Set(report.kv_usage);
  for (const double seconds : report.time_to_first_token) p.first_token.Observe(seconds);
  for (const double seconds : report.inter_token) {
    p.inter_token.Observe(seconds);
    p.per_output_token.Observe(seconds);
  }
}

void Metrics::on_finished(const RequestReport& report) {
  Parts& p = *parts_;
  p.finished[static_cast<std::size_t>(report.outcome)]->Increment();
  p.latency.Observe(report.latency);
  p.request_prompt.Observe(static_cast<double>(report.prompt_tokens));
  p.request_generation.Observe(static_cast<double>(report.generation_tokens));
  if (report.generation_tokens > 1) p.request_per_output_token.Observe(report.time_per_output_token);
}

void Metrics::set_suspect(bool suspect) {
  parts_->suspect.Set(suspect ? 1 : 0);
}

std::string Metrics::text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, parts_->registry.Collect());
  return out.str();
}

}  // namespace outrider
