// Compares the forward pass with the results of other implementations (tests/golden/README.md).

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
using testing::relative_distance;
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

// If BF16 and FP8 round each step, the order of a sum determines the last bits, the last bits determine a rounding, and
// a rounding determines which entries or experts are chosen: one such choice changes logits by ten percent. The
// release's own code shows how far this goes: the golden data has its results with three orders of its sums, and which
// of them agree at a length is chance. Ours, a fourth, must be about as near to one of them as they are to each other;
// one choice that none of them made is allowed. For few tokens, where all three agree, ours must agree too.
void expect_official(const Golden& golden, const std::vector<Prefix>& ours_by_length) {
  for (const bool of_mtp : {false, true}) {
    const std::string what = of_mtp ? "mtp_logits" : "logits";
    if (!golden.has("official.whole.1." + what)) continue;
    double own = 0;
    std::vector<double> distances;
    for (const Prefix& prefix : ours_by_length) {
      std::vector<std::vector<float>> theirs;
      for (const char* how : {"whole", "token", "float64_sums"}) {
        const std::string key = fmt::format("official.{}.{}.{}", how, prefix.length, what);
        if (golden.has(key)) theirs.push_back(golden.floats(key));
      }
      ASSERT_GE(theirs.size(), 2U);
      double nearest = INFINITY;
      double nearest_pair = INFINITY;
      double farthest_pair = 0;
      for (std::size_t i = 0; i < theirs.size(); ++i) {
        nearest = std::min(nearest, relative_distance(of_mtp ? prefix.run.mtp_logits : prefix.run.logits, theirs[i]));
        for (std::size_t j = 0; j < i; ++j) {
          const double apart = relative_distance(theirs[i], theirs[j]);
          nearest_pair = std::min(nearest_pair, apart);
          farthest_pair = std::max(farthest_pair, apart);
        }
      }
      if (prefix.length <= 5 && farthest_pair < 1e-4) {
        EXPECT_LT(nearest, 1e-4) << what << " " << prefix.length;
      }
      distances.push_back(nearest);
      own = std::max(own, nearest_pair);
    }
    fmt::print("{}: relative distances {:.4f}; of the release's results from one another at most {:.4f}\n", what,
               fmt::join(distances, " "), own);
    std::size_t other_choices = 0;
    for (std::size_t i = 0; i < distances.size(); ++i) {
      EXPECT_LT(distances[i], 0.15) << what << " " << ours_by_length[i].length;
      if (distances[i] >= std::max(2 * own, 0.02)) ++other_choices;
    }
    EXPECT_LE(other_choices, 1U) << what;
  }
}

TEST_P(GoldenTest, OfficialNumerics) {
  const Golden golden(GetParam());
  expect_official(golden, prefixes(*load_model(GetParam(), {NumericMode::kOfficial}), golden));
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

// The bundled model is its own "official" variant.
TEST(BundledGolden, OfficialNumerics) {
  const Golden golden("deepseek-v4-kjv");
  expect_official(golden, prefixes(*load_model("official", {NumericMode::kOfficial}), golden));
}

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
