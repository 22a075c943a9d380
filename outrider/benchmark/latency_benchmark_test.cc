#include "outrider/benchmark/latency_benchmark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/benchmark/latency_report.h"
#include "outrider/testing/bundled_model.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::ElementsAre;

TEST(LatencyBenchmark, MeasuresEverySetting) {
  const auto loaded = testing::load_bundled_model();
  const Model& model = *loaded;
  LatencyBenchmarkOptions options;
  options.batch_sizes = {1, 3};
  options.num_speculative_tokens = {0, 2};
  options.output_len = 6;
  options.iterations = 2;
  const std::vector<std::vector<std::uint32_t>> prompts = {{5, 6, 7}, {8, 9, 10}, {11, 12, 13}};
  std::size_t told = 0;
  const auto results = run_latency_benchmark(model, prompts, options, [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(done, ++told);
    EXPECT_EQ(total, 12U);
  });
  EXPECT_EQ(told, 12U);
  ASSERT_EQ(results.size(), 4U);
  for (const LatencyResult& result : results) {
    ASSERT_EQ(result.latencies.size(), 2U);
    ASSERT_EQ(result.prefills.size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_GT(result.prefills[i], 0);
      EXPECT_LE(result.prefills[i], result.latencies[i]);
    }
    EXPECT_EQ(result.speculation.drafts == 0, result.num_speculative_tokens == 0);
  }
  // Two iterations of three identical greedy sequences: the drafts are the same.
  EXPECT_EQ(results[3].batch_size, 3U);
  EXPECT_EQ(results[3].speculation.drafts % 2, 0U);
  EXPECT_GE(results[3].speculation.drafts, results[1].speculation.drafts);

  options.batch_sizes = {4};
  EXPECT_THROW(run_latency_benchmark(model, prompts, options, {}), Error);
  options.batch_sizes = {0};
  EXPECT_THROW(run_latency_benchmark(model, prompts, options, {}), Error);
}

TEST(LatencyBenchmark, BreaksDecodeStepsDown) {
  OperationTimes times;
  const auto model = make_model(std::make_shared<const Weights>(open_plan(testing::bundled_model_path())),
                                ModelOptions{.threads = 1, .times = &times});
  LatencyBenchmarkOptions options;
  options.num_speculative_tokens = {0, 1};
  options.output_len = 6;
  options.iterations = 2;
  options.times = &times;
  const auto results = run_latency_benchmark(*model, std::vector<std::vector<std::uint32_t>>{{5, 6, 7}}, options, {});
  ASSERT_EQ(results.size(), 2U);
  for (const LatencyResult& result : results) {
    const DecodeBreakdown& b = result.breakdown;
    const bool drafts = result.num_speculative_tokens != 0;
    EXPECT_GE(b.steps, drafts ? 6U : 10U);
    for (std::size_t i = 0; i < kOperations; ++i) EXPECT_GT(b.model[static_cast<Operation>(i)], 0) << i;
    EXPECT_LT(b.model.total() + b.drafter_seconds, b.seconds);
    EXPECT_EQ(b.drafter_seconds > 0, drafts);
    EXPECT_EQ(b.drafter[Operation::kExperts] > 0, drafts);
    EXPECT_LE(b.drafter.total(), b.drafter_seconds);
  }
  const std::string text = breakdown_text(results);
  EXPECT_THAT(text, ::testing::HasSubstr("batch 1, k 1: a decode step takes"));
  EXPECT_THAT(text, ::testing::HasSubstr("hyper-connections (mHC)"));
}

TEST(LatencyReport, ComparesSettings) {
  LatencyBenchmarkOptions options;
  options.output_len = 11;
  const std::vector<LatencyResult> results = {{1, 0, {1.1, 1.1, 1.1}, {0.1, 0.1, 0.1}, {}, {}},
                                              {1, 1, {0.6, 0.6, 0.6}, {0.1, 0.1, 0.1}, {5, 5, 4, {4}}, {}},
                                              {4, 1, {1.1, 1.1, 1.1}, {0.1, 0.1, 0.1}, {5, 5, 4, {4}}, {}}};
  const auto json = latency_report_json(results, options);
  EXPECT_FALSE(json.contains("avg_latency"));
  const auto& list = json["results"];
  EXPECT_DOUBLE_EQ(list[0]["decode_throughput"].get<double>(), 10);
  EXPECT_DOUBLE_EQ(list[1]["decode_ratio_to_no_speculation"].get<double>(), 2);
  EXPECT_TRUE(list[2]["decode_ratio_to_no_speculation"].is_null());
  EXPECT_DOUBLE_EQ(list[2]["decode_ratio_to_batch_1"].get<double>(), 2);
  EXPECT_DOUBLE_EQ(list[1]["spec_decode_acceptance_rate"].get<double>(), 80);
  EXPECT_FALSE(list[0].contains("spec_decode_acceptance_rate"));
  EXPECT_THAT(latency_report_text(results, options), ::testing::HasSubstr("80.00%"));

  const auto one = latency_report_json(std::span(results).first(1), options);
  EXPECT_DOUBLE_EQ(one["avg_latency"].get<double>(), 1.1);
  EXPECT_DOUBLE_EQ(one["percentiles"]["99"].get<double>(), 1.1);
  EXPECT_EQ(one["latencies"].size(), 3U);
}

TEST(Excerpts, AreSpreadOverTheText) {
  const std::vector<std::uint32_t> text = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(excerpts(text, 3, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(3, 4), ElementsAre(6, 7)));
  EXPECT_THAT(excerpts(text, 1, 8), ElementsAre(ElementsAre(0, 1, 2, 3, 4, 5, 6, 7)));
  EXPECT_THROW(excerpts(text, 1, 9), Error);
}

}  // namespace
}  // namespace outrider
