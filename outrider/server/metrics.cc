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

// vLLM's buckets (vllm/v1/metrics/loggers.py): the quantiles of dashboards depend on them.
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
  // Counters of the first `positions` draft positions; only the engine's thread adds to them.
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

  prometheus::Counter& drafts = counter("vllm:spec_decode_num_drafts_total", "Number of draft rounds.");
  prometheus::Counter& draft_tokens = counter("vllm:spec_decode_num_draft_tokens_total", "Number of draft tokens.");
  prometheus::Counter& accepted_tokens =
      counter("vllm:spec_decode_num_accepted_tokens_total", "Number of accepted draft tokens.");
  prometheus::Counter& left_out_tokens =
      counter("outrider:spec_decode_num_left_out_tokens_total",
              "Number of draft tokens left out because they would have cost more time than they save.");
  prometheus::Family<prometheus::Counter>& accepted_per_position =
      prometheus::BuildCounter()
          .Name("vllm:spec_decode_num_accepted_tokens_per_pos_total")
          .Help("Number of accepted draft tokens, by position in the draft.")
          .Register(registry);
  std::vector<prometheus::Counter*> per_position;

  prometheus::Counter& prompt_tokens =
      counter("vllm:prompt_tokens_total", "Number of prompt tokens, cached ones included.");
  prometheus::Counter& generation_tokens = counter("vllm:generation_tokens_total", "Number of generated tokens.");
  prometheus::Counter& prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Number of prompt tokens looked up in the prefix cache.");
  prometheus::Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Number of prompt tokens reused from the prefix cache.");
  prometheus::Family<prometheus::Counter>& success = prometheus::BuildCounter()
                                                         .Name("vllm:request_success_total")
                                                         .Help("Number of finished requests, by finish reason.")
                                                         .Register(registry);
  std::array<prometheus::Counter*, kReasons.size()> finished{};

  prometheus::Gauge& running = gauge("vllm:num_requests_running", "Number of running requests.");
  prometheus::Gauge& waiting = gauge("vllm:num_requests_waiting", "Number of waiting requests.");
  prometheus::Gauge& kv_usage =
      gauge("vllm:kv_cache_usage_perc", "Fraction of the planned memory in use; 1 means 100 percent.");
  prometheus::Gauge& suspect = gauge("outrider:spec_decode_suspect",
                                     "1 if drafts are accepted so rarely that the drafter must be faulty, else 0.");

  prometheus::Histogram& first_token = histogram(
      "vllm:time_to_first_token_seconds", "Seconds from a request's arrival to its first token.", kTimeToFirstToken);
  prometheus::Histogram& inter_token = histogram(
      "vllm:inter_token_latency_seconds", "Seconds between a request's consecutive steps with output.", kBetweenTokens);
  prometheus::Histogram& per_output_token =
      histogram("vllm:time_per_output_token_seconds", "Same as vllm:inter_token_latency_seconds.", kBetweenTokens);
  prometheus::Histogram& request_per_output_token =
      histogram("vllm:request_time_per_output_token_seconds",
                "A request's mean seconds per output token, without the first.", kBetweenTokens);
  prometheus::Histogram& latency =
      histogram("vllm:e2e_request_latency_seconds", "Seconds from a request's arrival to its end.", kLatency);
  prometheus::Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Number of prompt tokens of a request.", token_buckets());
  prometheus::Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Number of generated tokens of a request.", token_buckets());
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
  add(p.left_out_tokens, report.speculation.left_out_tokens);
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
