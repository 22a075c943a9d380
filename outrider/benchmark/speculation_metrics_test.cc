#include "outrider/benchmark/speculation_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(SpeculationMetrics, AreSummedOverEngines) {
  // As vLLM 0.11 writes them for two engines.
  const auto counts = read_speculation_metrics(R"(# HELP vllm:spec_decode_num_drafts_total Number of drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="a } b"} 100.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="a } b"} 1.0e+02
vllm:spec_decode_num_drafts_created{engine="0",model_name="a } b"} 1.7e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="a } b"} 400.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="a } b"} 150.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a } b",position="0"} 100.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="a } b",position="1"} 50.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="a } b",position="99999999999"} 50.0
vllm:spec_decode_num_drafts_total{engine="2"} NaN
vllm:spec_decode_num_drafts_total{engine="3
)");
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->drafts, 200U);
  EXPECT_EQ(counts->draft_tokens, 400U);
  EXPECT_EQ(counts->accepted_tokens, 150U);
  EXPECT_THAT(counts->accepted_per_position, ::testing::ElementsAre(100, 50));
}

TEST(SpeculationMetrics, AreAbsentWithoutSpeculation) {
  EXPECT_FALSE(read_speculation_metrics("vllm:prompt_tokens_total 4\n"));
  EXPECT_FALSE(read_speculation_metrics(""));
}

}  // namespace
}  // namespace outrider
