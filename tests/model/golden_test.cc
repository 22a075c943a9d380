// Compares the forward pass in exact numerics with the results of other implementations (tests/golden/README.md).

#include "tests/model/golden.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace outrider {
namespace {

using testing::advance;
using testing::Golden;
using testing::largest_difference;
using testing::load_model;
using testing::Outcome;
using testing::SequenceWithMtp;

constexpr std::size_t kLengths[] = {1, 5, 127, 128, 129, 300, 1100};

// The model's results on prefixes of the golden tokens, each extending the previous one.
struct Prefix {
  std::size_t length = 0;
  Outcome run;  // of its last token
};

std::vector<Prefix> prefixes(const Model& model, const Golden& golden) {
  const std::vector<std::uint32_t> tokens = golden.tokens();
  SequenceWithMtp sequence(model, {tokens.size(), 16});
  std::vector<Prefix> out;
  std::size_t begin = 0;
  for (const std::size_t end : kLengths) {
    out.push_back({end, advance(model, sequence, tokens, begin, end)});
    begin = end;
  }
  return out;
}

class GoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, ExactNumerics) {
  const Golden golden(GetParam());
  const auto model = load_model(GetParam() + "-float32", {NumericMode::kExact});
  double logits = 0;
  double mtp = 0;
  double streams = 0;
  for (const Prefix& prefix : prefixes(*model, golden)) {
    const std::size_t end = prefix.length;
    const Outcome& run = prefix.run;
    const std::string key = fmt::format("exact.whole.{}", end);
    const double distance = largest_difference(run.logits, golden.floats(key + ".logits"));
    EXPECT_LT(distance, 1e-4) << key;
    logits = std::max(logits, distance);
    if (!run.mtp_logits.empty()) {
      const double of_mtp = largest_difference(run.mtp_logits, golden.floats(key + ".mtp_logits"));
      EXPECT_LT(of_mtp, 1e-4) << key;
      mtp = std::max(mtp, of_mtp);
    }
    if (golden.has(key + ".streams")) {
      const double of_streams = largest_difference(run.streams, golden.floats(key + ".streams"));
      EXPECT_LT(of_streams, 1e-4) << key;
      streams = std::max(streams, of_streams);
    }
  }
  fmt::print("largest differences: logits {:.1e}, MTP logits {:.1e}, streams {:.1e}\n", logits, mtp, streams);
}

INSTANTIATE_TEST_SUITE_P(Random, GoldenTest,
                         ::testing::Values("random-every-layer-type", "random-window-only", "random-pro-like",
                                           "random-one-group-no-hash", "random-short-yarn", "random-tight-clamp",
                                           "random-sigmoid", "random-no-mtp"),
                         [](const auto& test) {
                           std::string name = test.param.substr(7);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(BundledGolden, ExactNumerics) {
  const Golden golden("deepseek-v4-kjv");
  const auto model = load_model("float32", {NumericMode::kExact});
  for (const Prefix& prefix : prefixes(*model, golden)) {
    const std::size_t end = prefix.length;
    const Outcome& run = prefix.run;
    const std::string key = fmt::format("exact.whole.{}", end);
    const double logits = largest_difference(run.logits, golden.floats(key + ".logits"));
    const double mtp = largest_difference(run.mtp_logits, golden.floats(key + ".mtp_logits"));
    fmt::print("{}: largest difference of logits {:.1e}, of MTP logits {:.1e}\n", key, logits, mtp);
    EXPECT_LT(logits, 1e-4) << key;
    EXPECT_LT(mtp, 1e-4) << key;
  }
}

}  // namespace
}  // namespace outrider
