// Compares the DSpark drafter with V4-Flash-0731's model.py (tests/golden/README.md).

#include "outrider/architectures/deepseek_v4/dspark.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "outrider/architectures/deepseek_v4/batch_plan.h"
#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/deepseek_v4_model.h"
#include "outrider/architectures/deepseek_v4/layer_states.h"
#include "outrider/math/top_k.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using testing::Golden;
using testing::largest_difference;
using testing::load_model;

constexpr std::size_t kConsumed[] = {1, 2, 5, 127, 128, 129, 300, 1100};

// A sequence and its drafter's cache, advanced together.
class Drafting {
 public:
  Drafting(const Model& model, std::size_t max_length)
      : model_(model),
        sequence_(model.new_sequence({max_length, 16})),
        cache_(new_dspark_cache(model, {max_length, 16})) {
    for (const std::uint64_t layer : model.config().dspark->target_layer_ids) targets_.push_back(layer);
  }

  Sequence& cache() { return cache_; }

  void consume(std::span<const std::uint32_t> tokens) {
    std::vector<Rows> streams(targets_.size());
    const ForwardItem item{&sequence_, tokens, LogitsWanted::kNone};
    model_.forward({&item, 1}, [&](std::size_t layer, const Rows& h) {
      const auto at = std::ranges::find(targets_, layer);
      if (at != targets_.end()) streams[static_cast<std::size_t>(at - targets_.begin())] = h;
    });
    Rows means(tokens.size(), targets_.size() * model_.config().hidden_size);
    for (std::size_t t = 0; t < tokens.size(); ++t) target_means(model_, streams, t, means[t]);
    const DsparkPositions positions{&cache_, 0, tokens.size()};
    append_dspark_keys(model_, {&positions, 1}, means);
  }

 private:
  const Model& model_;
  std::vector<std::size_t> targets_;
  Sequence sequence_;
  Sequence cache_;
};

struct Drafts {
  std::vector<std::uint32_t> tokens;
  std::vector<float> draft_logits;
  std::vector<float> logits;  // of all rows
  std::vector<float> confidences;
};

Drafts draft(const Model& model, Sequence& cache, std::uint32_t anchor, std::size_t count) {
  const DsparkRound round{&cache, anchor, count};
  const DsparkBlock block = run_dspark(model, {&round, 1});
  Drafts out;
  std::uint32_t before = anchor;
  for (std::size_t j = 0; j < count; ++j) {
    const DsparkStep step = finish_dspark_rows(model, block, {&j, 1}, {&before, 1});
    const std::span<const float> row = step.logits[0];
    before = top_k(row, 1)[0];
    out.tokens.push_back(before);
    out.draft_logits.push_back(row[before]);
    out.logits.insert(out.logits.end(), row.begin(), row.end());
    out.confidences.push_back(step.confidence[0]);
  }
  return out;
}

class DsparkGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(DsparkGolden, ExactNumerics) {
  const std::string name = GetParam();
  const bool bundled = name == "deepseek-v4-kjv-dspark";
  const Golden golden("dspark/" + name);
  const auto model = load_model(bundled ? "dspark" : name + "-float32", {NumericMode::kExact});
  const std::vector<std::uint32_t> tokens = golden.tokens();
  Drafting drafting(*model, tokens.size());
  std::size_t begin = 0;
  double largest = 0;
  for (const std::size_t end : kConsumed) {
    const std::string key = fmt::format("exact.{}.", end);
    if (!golden.has(key + "drafts")) continue;
    drafting.consume(std::span(tokens).subspan(begin, end - begin));
    begin = end;
    const std::size_t rows = model->config().dspark->block_size;
    const Drafts drafts = draft(*model, drafting.cache(), tokens[end], rows);
    const std::vector<float> theirs = golden.integers(key + "drafts");
    EXPECT_EQ(std::vector<float>(drafts.tokens.begin(), drafts.tokens.end()), theirs) << key;
    const double of_drafts = largest_difference(drafts.draft_logits, golden.floats(key + "draft_logits"));
    EXPECT_LT(of_drafts, 1e-4) << key;
    largest = std::max(largest, of_drafts);
    if (golden.has(key + "logits")) {
      const double of_logits = largest_difference(drafts.logits, golden.floats(key + "logits"));
      EXPECT_LT(of_logits, 1e-4) << key;
      largest = std::max(largest, of_logits);
    }
    std::vector<float> confidences = golden.floats(key + "confidences");
    for (float& s : confidences) s = 1 / (1 + std::exp(-s));
    EXPECT_LT(largest_difference(drafts.confidences, confidences), 1e-5) << key;
  }
  fmt::print("{}: largest difference of logits {:.1e}\n", name, largest);
}

// The rows of a block do not depend on the batch, nor the keys on how the tokens were divided into passes.
TEST_P(DsparkGolden, RoundsDoNotDependOnTheBatch) {
  const std::string name = GetParam();
  const auto model = load_model(name == "deepseek-v4-kjv-dspark" ? "dspark" : name, {});
  const std::vector<std::uint32_t> tokens = Golden("dspark/" + name).tokens();
  const std::size_t size = model->config().dspark->block_size;
  Drafting whole(*model, 400);
  Drafting cut(*model, 400);
  Drafting other(*model, 400);
  whole.consume(std::span(tokens).first(300));
  for (std::size_t at = 0; at < 300; at += 37) {
    cut.consume(std::span(tokens).subspan(at, std::min<std::size_t>(37, 300 - at)));
  }
  other.consume(std::span(tokens).subspan(300, 9));
  const DsparkRound alone{&whole.cache(), tokens[300], size};
  const DsparkBlock expected = run_dspark(*model, {&alone, 1});
  const DsparkRound both[] = {{&other.cache(), 5, 1}, {&cut.cache(), tokens[300], size}};
  const DsparkBlock got = run_dspark(*model, both);
  for (std::size_t j = 0; j < size; ++j) {
    EXPECT_TRUE(std::ranges::equal(got.logits[1 + j], expected.logits[j])) << j;
    EXPECT_TRUE(std::ranges::equal(got.y[1 + j], expected.y[j])) << j;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DsparkGolden,
                         ::testing::Values("random-dspark-flash-like", "random-dspark-pro-like",
                                           "deepseek-v4-kjv-dspark"),
                         testing::name_of_test);

}  // namespace
}  // namespace outrider
