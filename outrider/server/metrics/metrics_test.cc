#include "outrider/server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <vector>

#include "outrider/server/periodic_report.h"

namespace outrider {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

StepReport step() {
  StepReport report;
  report.running = 3;
  report.waiting = 2;
  report.deferred = 1;
  report.kv_usage = 0.25;
  report.processed_prompt_tokens = 30;
  report.prompt_tokens = 100;
  report.cached_tokens = 40;
  report.generation_tokens = 17;
  report.speculation = {10, 20, 12, {8, 4}, 5};
  report.time_to_first_token = {0.02};
  report.inter_token = {0.03, 0.2};
  return report;
}

EngineOptions options() {
  EngineOptions options;
  options.max_num_seqs = 8;
  options.max_model_len = 4096;
  options.speculative_config.num_speculative_tokens = 3;
  return options;
}

RequestReport finished() {
  RequestReport report;
  report.outcome = Outcome::kLength;
  report.prompt_tokens = 100;
  report.cached_tokens = 40;
  report.generation_tokens = 17;
  report.max_tokens = 20;
  report.latency = 2.25;
  report.queue_time = 0.5;
  report.prefill_time = 0.25;
  report.decode_time = 1.0;
  report.time_per_output_token = 0.0625;
  return report;
}

TEST(Metrics, HaveTheNamesThatDashboardsQuery) {
  Metrics metrics("a model", options());
  metrics.on_step(step());
  metrics.on_finished(finished());
  metrics.on_call(2, std::vector<std::size_t>{17});
  metrics.on_queue_full();
  metrics.set_suspect(true);
  const std::string text = metrics.text();
  const std::string plain = "{engine=\"0\",model_name=\"a model\"} ";
  for (const char* sample : {
           "vllm:spec_decode_num_drafts_total 10.0",
           "vllm:spec_decode_num_draft_tokens_total 20.0",
           "vllm:spec_decode_num_accepted_tokens_total 12.0",
           "outrider:spec_decode_num_left_out_tokens_total 5.0",
           "vllm:prompt_tokens_total 100.0",
           "vllm:prompt_tokens_cached_total 40.0",
           "vllm:generation_tokens_total 17.0",
           "vllm:prefix_cache_queries_total 100.0",
           "vllm:prefix_cache_hits_total 40.0",
           "vllm:num_preemptions_total 0.0",
           "vllm:num_requests_running 3.0",
           "vllm:num_requests_waiting 2.0",
           "vllm:kv_cache_usage_perc 0.25",
           "vllm:time_to_first_token_seconds_count 1.0",
           "vllm:inter_token_latency_seconds_count 2.0",
           "vllm:time_per_output_token_seconds_count 2.0",
           "vllm:e2e_request_latency_seconds_sum 2.25",
           "vllm:request_queue_time_seconds_sum 0.5",
           "vllm:request_prefill_time_seconds_sum 0.25",
           "vllm:request_decode_time_seconds_sum 1.0",
           "vllm:request_inference_time_seconds_sum 1.25",
           "vllm:request_time_per_output_token_seconds_sum 0.0625",
           "vllm:iteration_tokens_total_sum 47.0",
           "vllm:request_prompt_tokens_sum 100.0",
           "vllm:request_prefill_kv_computed_tokens_sum 60.0",
           "vllm:request_generation_tokens_sum 17.0",
           "vllm:request_max_num_generation_tokens_sum 17.0",
           "vllm:request_params_max_tokens_sum 20.0",
           "vllm:request_params_n_sum 2.0",
           "vllm:request_num_preemptions_count 1.0",
           "outrider:spec_decode_suspect 1.0",
       }) {
    EXPECT_THAT(text, HasSubstr("\n" + std::regex_replace(sample, std::regex(" "), plain) + "\n"));
  }
  for (
      const char* sample : {
          R"(vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a model",position="0"} 8.0)",
          R"(vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a model",position="2"} 0.0)",
          R"(vllm:prompt_tokens_by_source_total{engine="0",model_name="a model",source="local_compute"} 60.0)",
          R"(vllm:prompt_tokens_by_source_total{engine="0",model_name="a model",source="local_cache_hit"} 40.0)",
          R"(vllm:prompt_tokens_cached_by_source_total{engine="0",model_name="a model",source="device"} 40.0)",
          R"(vllm:request_success_total{engine="0",finished_reason="length",model_name="a model"} 1.0)",
          R"(vllm:request_success_total{engine="0",finished_reason="stop",model_name="a model"} 0.0)",
          R"(vllm:admission_rejections_total{model_name="a model",reason="max_num_queued_reqs"} 1.0)",
          R"(vllm:num_requests_waiting_by_reason{engine="0",model_name="a model",reason="capacity"} 1.0)",
          R"(vllm:num_requests_waiting_by_reason{engine="0",model_name="a model",reason="deferred"} 1.0)",
          R"(vllm:engine_sleep_state{engine="0",model_name="a model",sleep_state="awake"} 1.0)",
          R"(vllm:e2e_request_latency_seconds_bucket{engine="0",le="1.0",model_name="a model"} 0.0)",
          R"(vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="a model"} 1.0)",
          R"(vllm:cache_config_info{block_size="4096",cache_dtype="auto",enable_prefix_caching="True",engine="0",num_gpu_blocks="8"} 1.0)",
          "# TYPE vllm:prompt_tokens_total counter",
          "# TYPE vllm:iteration_tokens_total histogram",
          "# TYPE process_resident_memory_bytes gauge",
      }) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + sample + "\n"));
  }
  EXPECT_THAT(text, Not(HasSubstr(R"(vllm:request_prompt_tokens_bucket{engine="0",le="5000.0")")));
}

TEST(Metrics, PhasesThatARequestDidNotReachAreNotObserved) {
  Metrics metrics("m", options());
  RequestReport waiting;
  waiting.latency = waiting.queue_time = 3;
  metrics.on_finished(waiting);
  RequestReport prefilling = waiting;
  prefilling.prefill_time = 2;
  metrics.on_finished(prefilling);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("vllm:request_queue_time_seconds_count{engine=\"0\",model_name=\"m\"} 2.0"));
  EXPECT_THAT(text, HasSubstr("vllm:request_prefill_time_seconds_count{engine=\"0\",model_name=\"m\"} 1.0"));
  EXPECT_THAT(text, HasSubstr("vllm:request_inference_time_seconds_sum{engine=\"0\",model_name=\"m\"} 2.0"));
  EXPECT_THAT(text, HasSubstr("vllm:request_decode_time_seconds_count{engine=\"0\",model_name=\"m\"} 0.0"));
}

TEST(Metrics, LabelsOfRequestsAreBounded) {
  Metrics metrics("m", options());
  metrics.on_exchange({"POST", "/v1/completions", 200, 10, 1000, 0.3}, "/v1/completions");
  metrics.on_exchange({"POST", "/v1/completions", 400, 5, 50, 0.1}, "/v1/completions");
  metrics.on_exchange({"MAKE-UP", "/a", 404, 0, 0, 0}, "none");
  metrics.on_exchange({"", "", 400, 0, 0, 0}, "none");
  const std::string text = metrics.text();
  for (const char* sample : {
           R"(http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 1.0)",
           R"(http_requests_total{handler="none",method="other",status="4xx"} 2.0)",
           R"(http_request_size_bytes_count{handler="/v1/completions"} 2.0)",
           R"(http_request_size_bytes_sum{handler="/v1/completions"} 15.0)",
           R"(http_response_size_bytes_sum{handler="/v1/completions"} 1050.0)",
           R"(http_request_duration_seconds_bucket{handler="/v1/completions",le="0.5",method="POST"} 2.0)",
           R"(http_request_duration_highr_seconds_bucket{le="0.25"} 3.0)",
           R"(http_request_duration_highr_seconds_count 4.0)",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string("\n") + sample + "\n"));
  }
}

TEST(PeriodicReport, WritesVllmsLogLines) {
  PeriodicReport report;
  EXPECT_THAT(report.lines(10), IsEmpty());
  report.add(step());
  StepReport idle = step();
  idle.running = idle.waiting = 0;
  report.add(idle);
  EXPECT_THAT(
      report.lines(10),
      ElementsAre(
          StartsWith("Avg prompt throughput: 20.0 tokens/s, Avg generation throughput: 3.4 tokens/s, Running: 0 reqs"),
          "SpecDecoding metrics: Mean acceptance length: 2.20, Accepted throughput: 2.40 tokens/s, Drafted throughput: "
          "4.00 tokens/s, Accepted: 24 tokens, Drafted: 40 tokens, Per-position acceptance rate: 0.800, 0.400, Avg "
          "Draft acceptance rate: 60.0%"));
  // One more report, to show that nothing runs, then none.
  EXPECT_EQ(report.lines(10).size(), 1U);
  EXPECT_THAT(report.lines(10), IsEmpty());
}

}  // namespace
}  // namespace outrider
