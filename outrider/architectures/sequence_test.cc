#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/binding/open_plan.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

class SequenceTest : public ::testing::Test {
 protected:
  SequenceTest() {
    synthetic::write_tiny_checkpoint(dir_.path(), {});
    model_ = make_model(std::make_shared<const Weights>(open_plan(dir_.path())));
  }

  ForwardResult run(Sequence& sequence, std::size_t count) const {
    const std::vector<std::uint32_t> tokens(count, 1);
    const ForwardItem item{&sequence, tokens, LogitsWanted::kNone};
    return model_->forward({&item, 1});
  }

  testing::TempDir dir_;
  std::unique_ptr<Model> model_;
};

TEST_F(SequenceTest, RollsBackUpToItsLimit) {
  Sequence sequence = model_->new_sequence({100, 4});
  run(sequence, 20);
  EXPECT_EQ(sequence.length(), 20U);
  sequence.truncate(17);
  sequence.truncate(16);
  EXPECT_THROW(sequence.truncate(15), Error);  // five behind the furthest position, though only one behind the end
  EXPECT_EQ(sequence.length(), 16U);
  EXPECT_THROW(sequence.truncate(17), Error);
  run(sequence, 2);
  EXPECT_THROW(sequence.truncate(15), Error);
  sequence.truncate(0);
  run(sequence, 5);
  sequence.truncate(1);
}

TEST_F(SequenceTest, RefusesMoreThanItsLengthAndChangesNothing) {
  Sequence sequence = model_->new_sequence({10, 4});
  run(sequence, 8);
  EXPECT_THROW(run(sequence, 3), Error);
  EXPECT_EQ(sequence.length(), 8U);
  run(sequence, 2);
  EXPECT_EQ(sequence.length(), 10U);
  EXPECT_THROW(sequence.advance(1), Error);
  const std::vector<std::uint32_t> token = {0};
  Sequence other = model_->new_sequence({10, 4});
  const ForwardItem twice[] = {{&other, token}, {&other, token}};
  EXPECT_THROW(model_->forward(twice), Error);
  const std::vector<std::uint32_t> unknown = {static_cast<std::uint32_t>(model_->config().vocab_size)};
  const ForwardItem item{&other, unknown};
  EXPECT_THROW(model_->forward({&item, 1}), Error);
  EXPECT_EQ(other.length(), 0U);
}

TEST_F(SequenceTest, BytesAreKnownBeforeAllocation) {
  const std::uint64_t shorter = model_->sequence_bytes({1000, 16});
  const std::uint64_t longer = model_->sequence_bytes({2000, 16});
  EXPECT_GT(longer, shorter);
  EXPECT_EQ(model_->new_sequence({1000, 16}).bytes(), shorter);
  EXPECT_EQ(model_->sequence_bytes({std::numeric_limits<std::uint64_t>::max(), 16}),
            std::numeric_limits<std::uint64_t>::max());
  EXPECT_THROW(model_->new_sequence({0, 16}), Error);
  EXPECT_THROW(model_->new_sequence({model_->config().max_position_embeddings + 1, 16}), Error);
}

TEST_F(SequenceTest, AWindowLongerThanTheSequenceCostsNothing) {
  const auto logits = [&](std::uint64_t window) {
    auto config = nlohmann::json::parse(testing::read_file(dir_ / "config.json"));
    config["sliding_window"] = window;
    testing::write_file(dir_ / "config.json", config.dump());
    const auto owned = make_model(std::make_shared<const Weights>(open_plan(dir_.path())));
    const Model& model = *owned;
    Sequence sequence = model.new_sequence({100, 4});
    EXPECT_LT(sequence.bytes(), 1U << 20);
    const std::vector<std::uint32_t> tokens(80, 1);
    const ForwardItem item{&sequence, tokens, LogitsWanted::kLast};
    const Rows rows = model.forward({&item, 1}).logits;
    return std::vector<float>(rows[0].begin(), rows[0].end());
  };
  EXPECT_EQ(logits(128), logits(1 << 26));
}

TEST_F(SequenceTest, MtpUsesTheStreamsItIsGiven) {
  Sequence sequence = model_->new_sequence({10, 4});
  Sequence cache = new_mtp_cache(*model_, {10, 4});
  EXPECT_EQ(cache.bytes(), mtp_cache_bytes(*model_, {10, 4}));
  const ForwardResult result = run(sequence, 3);
  const std::vector<std::uint32_t> next = {1, 2, 3};
  const MtpItem beyond{&cache, next, 1};
  EXPECT_THROW(run_mtp(*model_, {&beyond, 1}, result.streams), Error);
  const MtpItem item{&cache, next, 0};
  EXPECT_THROW(run_mtp(*model_, {&item, 1}, result.streams, 1), Error);
  EXPECT_EQ(run_mtp(*model_, {&item, 1}, result.streams).logits.rows(), 1U);
  EXPECT_EQ(cache.length(), 3U);
  cache.truncate(2);
  EXPECT_EQ(cache.length(), 2U);
  EXPECT_EQ(sequence.length(), 3U);
}

}  // namespace
}  // namespace outrider
