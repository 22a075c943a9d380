#include "outrider/server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/server/periodic_report.h"

namespace outrider {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

StepReport step() {
  StepReport report;
  report.running = 3;
  report.waiting = 2;
  report.kv_usage = 0.25;
  report.prompt_tokens = 100;
  report.cached_tokens = 40;
  report.generation_tokens = 17;
  report.speculation = {10, 20, 12, {8, 4}, 5};
  report.time_to_first_token = {0.02};
  report.inter_token = {0.03, 0.2};
  return report;
}

TEST(Metrics, HaveTheNamesThatDashboardsQuery) {
  Metrics metrics("a model", 2);
  metrics.on_step(step());
  metrics.on_finished({Outcome::kLength, 100, 17, 1.5, 0.05});
  metrics.set_suspect(true);
  const std::string text = metrics.text();
  for (const char* line : {
           "vllm:spec_decode_num_drafts_total{model_name=\"a model\"} 10\n",
           "vllm:spec_decode_num_draft_tokens_total{model_name=\"a model\"} 20\n",
           "vllm:spec_decode_num_accepted_tokens_total{model_name=\"a model\"} 12\n",
           "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"a model\",position=\"0\"} 8\n",
           "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"a model\",position=\"1\"} 4\n",
           "outrider:spec_decode_num_left_out_tokens_total{model_name=\"a model\"} 5\n",
           "# TYPE vllm:prompt_tokens_total counter\n",
           "vllm:prompt_tokens_total{model_name=\"a model\"} 100\n",
           "vllm:generation_tokens_total{model_name=\"a model\"} 17\n",
           "vllm:prefix_cache_hits_total{model_name=\"a model\"} 40\n",
           "vllm:request_success_total{finished_reason=\"length\",model_name=\"a model\"} 1\n",
           "vllm:request_success_total{finished_reason=\"stop\",model_name=\"a model\"} 0\n",
           "vllm:num_requests_running{model_name=\"a model\"} 3\n",
           "vllm:num_requests_waiting{model_name=\"a model\"} 2\n",
           "vllm:kv_cache_usage_perc{model_name=\"a model\"} 0.25\n",
           "vllm:time_to_first_token_seconds_count{model_name=\"a model\"} 1\n",
           "vllm:inter_token_latency_seconds_count{model_name=\"a model\"} 2\n",
           "vllm:time_per_output_token_seconds_count{model_name=\"a model\"} 2\n",
           "vllm:e2e_request_latency_seconds_sum{model_name=\"a model\"} 1.5\n",
           "vllm:request_prompt_tokens_sum{model_name=\"a model\"} 100\n",
           "vllm:request_generation_tokens_sum{model_name=\"a model\"} 17\n",
           "outrider:spec_decode_suspect{model_name=\"a model\"} 1\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
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
