#include "outrider/server/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "outrider/server/metrics/buckets.h"
#include "outrider/server/metrics/http_metrics.h"
#include "outrider/server/metrics/process_metrics.h"
#include "outrider/server/metrics/prometheus_text.h"

namespace outrider {
namespace {

using Labels = prometheus::Labels;

constexpr std::array<std::pair<Outcome, const char*>, 5> kReasons = {{{Outcome::kStop, "stop"},
                                                                      {Outcome::kLength, "length"},
                                                                      {Outcome::kCancelled, "abort"},
                                                                      {Outcome::kRefused, "error"},
                                                                      {Outcome::kFailed, "error"}}};

void add(prometheus::Counter& counter, std::uint64_t count) {
  if (count != 0) counter.Increment(static_cast<double>(count));
}
void observe(prometheus::Histogram& histogram, std::size_t count) {
  histogram.Observe(static_cast<double>(count));
}

}  // namespace

struct Metrics::Parts {
  Parts(const std::string& model_name, const EngineOptions& options)
      : labels{{"model_name", model_name}, {"engine", "0"}}, token_buckets(buckets::tokens(options.max_model_len)) {
    for (const auto& [outcome, reason] : kReasons) {
      finished[static_cast<std::size_t>(outcome)] = &success.Add(with("finished_reason", reason));
    }
    accepted_at(options.speculative_config.num_speculative_tokens);
    // What cannot happen here is reported as zero, as vLLM does where it does not happen.
    counter("vllm:num_preemptions_total", "Number of preemptions: none, since memory is planned at start-up.");
    prompt_tokens_by_source.Add(with("source", "external_kv_transfer"));
    awake.Add(with("sleep_state", "awake")).Set(1);
    awake.Add(with("sleep_state", "weights_offloaded"));
    awake.Add(with("sleep_state", "discard_all"));
    // Each sequence's memory is one block.
    prometheus::BuildGauge()
        .Name("vllm:cache_config_info")
        .Help("The memory of sequences: num_gpu_blocks (vLLM's name on any device) sequences of block_size tokens.")
        .Register(registry)
        .Add({{"engine", "0"},
              {"block_size", std::to_string(options.max_model_len)},
              {"num_gpu_blocks", std::to_string(options.max_num_seqs)},
              {"cache_dtype", "auto"},
              {"enable_prefix_caching", options.prefix_caching ? "True" : "False"}})
        .Set(1);
  }

  Labels with(const char* name, const char* value) const {
    Labels more = labels;
    more[name] = value;
    return more;
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Family<prometheus::Gauge>& gauges(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  }
  prometheus::Counter& counter(const char* name, const char* help) { return counters(name, help).Add(labels); }
  prometheus::Gauge& gauge(const char* name, const char* help) { return gauges(name, help).Add(labels); }
  prometheus::Histogram& histogram(const char* name, const char* help, const buckets::Bounds& bounds) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels, bounds);
  }
  // Counters of the first `positions` draft positions; only the engine's thread adds to them.
  std::vector<prometheus::Counter*>& accepted_at(std::size_t positions) {
    while (per_position.size() < positions) {
      per_position.push_back(&accepted_per_position.Add(with("position", std::to_string(per_position.size()).c_str())));
    }
    return per_position;
  }

  Labels labels;
  buckets::Bounds token_buckets;
  prometheus::Registry registry;

  prometheus::Counter& drafts = counter("vllm:spec_decode_num_drafts_total", "Number of draft rounds.");
  prometheus::Counter& draft_tokens = counter("vllm:spec_decode_num_draft_tokens_total", "Number of draft tokens.");
  prometheus::Counter& accepted_tokens =
      counter("vllm:spec_decode_num_accepted_tokens_total", "Number of accepted draft tokens.");
  prometheus::Counter& left_out_tokens =
      counter("outrider:spec_decode_num_left_out_tokens_total",
              "Number of draft tokens left out because they would have cost more time than they save.");
  prometheus::Family<prometheus::Counter>& accepted_per_position =
      counters("vllm:spec_decode_num_accepted_tokens_per_pos_total",
               "Number of accepted draft tokens, by position in the draft.");
  std::vector<prometheus::Counter*> per_position;

  prometheus::Counter& prompt_tokens =
      counter("vllm:prompt_tokens_total", "Number of prompt tokens, cached ones included.");
  prometheus::Family<prometheus::Counter>& prompt_tokens_by_source =
      counters("vllm:prompt_tokens_by_source_total", "Number of prompt tokens, by source.");
  prometheus::Counter& computed_tokens = prompt_tokens_by_source.Add(with("source", "local_compute"));
  prometheus::Counter& reused_tokens = prompt_tokens_by_source.Add(with("source", "local_cache_hit"));
  prometheus::Counter& cached_tokens =
      counter("vllm:prompt_tokens_cached_total", "Number of prompt tokens reused from the prefix cache.");
  prometheus::Counter& cached_tokens_on_device =
      counters("vllm:prompt_tokens_cached_by_source_total",
               "Number of prompt tokens reused from the prefix cache, by the memory that held them.")
          .Add(with("source", "device"));
  prometheus::Counter& prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Number of prompt tokens looked up in the prefix cache.");
  prometheus::Counter& prefix_hits =
      counter("vllm:prefix_cache_hits_total", "Number of prompt tokens reused from the prefix cache.");
  prometheus::Counter& generation_tokens = counter("vllm:generation_tokens_total", "Number of generated tokens.");
  prometheus::Family<prometheus::Counter>& success =
      counters("vllm:request_success_total", "Number of finished requests, by finish reason.");
  std::array<prometheus::Counter*, kReasons.size()> finished{};
  prometheus::Counter& queue_full =
      counters("vllm:admission_rejections_total", "Number of calls refused because of a limit of the queue.")
          .Add({{"model_name", labels.at("model_name")}, {"reason", "max_num_queued_reqs"}});

  prometheus::Gauge& running = gauge("vllm:num_requests_running", "Number of running requests.");
  prometheus::Gauge& waiting = gauge("vllm:num_requests_waiting", "Number of waiting requests.");
  prometheus::Family<prometheus::Gauge>& waiting_by_reason =
      gauges("vllm:num_requests_waiting_by_reason",
             "Number of waiting requests: for a free sequence (capacity), or long prompts that leave free sequences to "
             "short ones (deferred).");
  prometheus::Gauge& waiting_for_capacity = waiting_by_reason.Add(with("reason", "capacity"));
  prometheus::Gauge& waiting_deferred = waiting_by_reason.Add(with("reason", "deferred"));
  prometheus::Gauge& kv_usage =
      gauge("vllm:kv_cache_usage_perc", "Fraction of the planned memory in use; 1 means 100 percent.");
  prometheus::Family<prometheus::Gauge>& awake =
      gauges("vllm:engine_sleep_state", "1 for the state that the engine is in: it is always awake.");
  prometheus::Gauge& suspect = gauge("outrider:spec_decode_suspect",
                                     "1 if drafts are accepted so rarely that the drafter must be faulty, else 0.");

  prometheus::Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "Seconds from a request's arrival to its first token.",
                buckets::kTimeToFirstToken);
  prometheus::Histogram& inter_token =
      histogram("vllm:inter_token_latency_seconds", "Seconds between a request's consecutive steps with output.",
                buckets::kBetweenTokens);
  prometheus::Histogram& per_output_token = histogram(
      "vllm:time_per_output_token_seconds", "Same as vllm:inter_token_latency_seconds.", buckets::kBetweenTokens);
  prometheus::Histogram& request_per_output_token =
      histogram("vllm:request_time_per_output_token_seconds",
                "A request's mean seconds per output token, without the first.", buckets::kBetweenTokens);
  prometheus::Histogram& latency =
      histogram("vllm:e2e_request_latency_seconds", "Seconds from a request's arrival to its end.", buckets::kLatency);
  prometheus::Histogram& queue_time = histogram(
      "vllm:request_queue_time_seconds", "Seconds from a request's arrival to its admission.", buckets::kLatency);
  prometheus::Histogram& prefill_time = histogram(
      "vllm:request_prefill_time_seconds", "Seconds from a request's admission to its first token.", buckets::kLatency);
  prometheus::Histogram& decode_time = histogram(
      "vllm:request_decode_time_seconds", "Seconds from a request's first token to its last.", buckets::kLatency);
  prometheus::Histogram& inference_time =
      histogram("vllm:request_inference_time_seconds", "Seconds from a request's admission to its last token.",
                buckets::kLatency);

  prometheus::Histogram& iteration_tokens =
      histogram("vllm:iteration_tokens_total",
                "Number of tokens of a step: processed prompt tokens and generated ones.", buckets::kIterationTokens);
  prometheus::Histogram& request_prompt =
      histogram("vllm:request_prompt_tokens", "Number of prompt tokens of a request.", token_buckets);
  prometheus::Histogram& request_computed =
      histogram("vllm:request_prefill_kv_computed_tokens",
                "Number of prompt tokens of a request that were not reused from the prefix cache.", token_buckets);
  prometheus::Histogram& request_generation =
      histogram("vllm:request_generation_tokens", "Number of generated tokens of a request.", token_buckets);
  prometheus::Histogram& request_most_generation =
      histogram("vllm:request_max_num_generation_tokens",
                "Number of generated tokens of the longest choice for a prompt.", token_buckets);
  prometheus::Histogram& request_max_tokens =
      histogram("vllm:request_params_max_tokens", "Maximum number of tokens that a request allows.", token_buckets);
  prometheus::Histogram& request_n =
      histogram("vllm:request_params_n", "Number of choices that are asked for, by prompt.", buckets::kChoices);
  prometheus::Histogram& request_preemptions =
      histogram("vllm:request_num_preemptions", "Number of preemptions of a request: none.", buckets::kPreemptions);

  HttpMetrics http{registry};
};

Metrics::Metrics(const std::string& model_name, const EngineOptions& options)
    : parts_(std::make_unique<Parts>(model_name, options)) {}
Metrics::~Metrics() = default;

void Metrics::on_step(const StepReport& report) {
  Parts& p = *parts_;
  add(p.drafts, report.speculation.drafts);
  add(p.draft_tokens, report.speculation.draft_tokens);
  add(p.accepted_tokens, report.speculation.accepted_tokens);
  add(p.left_out_tokens, report.speculation.left_out_tokens);
  const std::vector<std::uint64_t>& accepted = report.speculation.accepted_per_position;
  std::vector<prometheus::Counter*>& counters = p.accepted_at(accepted.size());
  for (std::size_t i = 0; i < accepted.size(); ++i) add(*counters[i], accepted[i]);
  add(p.prompt_tokens, report.prompt_tokens);
  add(p.computed_tokens, report.prompt_tokens - report.cached_tokens);
  add(p.prefix_queries, report.prompt_tokens);
  for (auto* counter : {&p.reused_tokens, &p.cached_tokens, &p.cached_tokens_on_device, &p.prefix_hits}) {
    add(*counter, report.cached_tokens);
  }
  add(p.generation_tokens, report.generation_tokens);
  const std::size_t tokens = report.processed_prompt_tokens + report.generation_tokens;
  if (tokens != 0) observe(p.iteration_tokens, tokens);
  p.running.Set(static_cast<double>(report.running));
  p.waiting.Set(static_cast<double>(report.waiting));
  p.waiting_for_capacity.Set(static_cast<double>(report.waiting - report.deferred));
  p.waiting_deferred.Set(static_cast<double>(report.deferred));
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
  p.queue_time.Observe(report.queue_time);
  if (report.prefill_time) {
    p.prefill_time.Observe(*report.prefill_time);
    p.inference_time.Observe(*report.prefill_time + report.decode_time.value_or(0));
  }
  if (report.decode_time) p.decode_time.Observe(*report.decode_time);
  observe(p.request_prompt, report.prompt_tokens);
  if (report.generation_tokens != 0) observe(p.request_computed, report.prompt_tokens - report.cached_tokens);
  observe(p.request_generation, report.generation_tokens);
  observe(p.request_max_tokens, report.max_tokens);
  observe(p.request_preemptions, 0);
  if (report.generation_tokens > 1) p.request_per_output_token.Observe(report.time_per_output_token);
}

void Metrics::on_call(std::size_t n, std::span<const std::size_t> most_generated) {
  for (const std::size_t tokens : most_generated) {
    observe(parts_->request_n, n);
    observe(parts_->request_most_generation, tokens);
  }
}

void Metrics::on_queue_full() {
  parts_->queue_full.Increment();
}

void Metrics::on_exchange(const HttpExchange& exchange, const std::string& handler) {
  parts_->http.add(exchange, handler);
}

void Metrics::set_suspect(bool suspect) {
  parts_->suspect.Set(suspect ? 1 : 0);
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families = parts_->registry.Collect();
  std::ranges::move(process_metrics(), std::back_inserter(families));
  return prometheus_text(families);
}

}  // namespace outrider
