// Tests the decoder's guarantees to a drafter, with one that reads streams of several layers, as DSpark does.

#include "outrider/decoding/drafter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using testing::load_model;
using Tokens = std::vector<std::uint32_t>;

struct Recorded : DrafterState {
  void skip_to(std::size_t) override {}
  std::size_t reusable(std::size_t common) const override { return std::min(common, tokens.size()); }
  void truncate(std::size_t length) override {
    tokens.resize(length);
    for (std::vector<std::vector<float>>& rows : streams) rows.resize(length);
  }

  Tokens tokens;
  std::vector<std::vector<std::vector<float>>> streams = std::vector<std::vector<std::vector<float>>>(2);  // by layer
};

// Records everything that it observes, and drafts from a known output, with every third token wrong.
class Recorder : public Drafter {
 public:
  Recorder(Tokens text, std::vector<std::size_t> layers) : text_(std::move(text)), layers_(std::move(layers)) {}

  std::span<const std::size_t> target_layers() const override { return layers_; }
  std::unique_ptr<DrafterState> new_state(const SequenceLimits&) const override { return std::make_unique<Recorded>(); }
  std::uint64_t state_bytes(const SequenceLimits&) const override { return 1000; }
  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override {
    ASSERT_EQ(streams.size(), layers_.size());
    for (const ObservedItem& item : items) {
      auto& state = dynamic_cast<Recorded&>(*item.state);
      for (std::size_t i = 0; i < item.rows; ++i) {
        state.tokens.push_back(item.tokens[state.tokens.size()]);
        for (std::size_t l = 0; l < streams.size(); ++l) {
          const std::span<const float> row = streams[l][item.first_row + i];
          state.streams[l].emplace_back(row.begin(), row.end());
        }
      }
    }
  }
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override {
    std::vector<std::vector<DraftToken>> drafts(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto& state = dynamic_cast<const Recorded&>(*items[i].state);
      EXPECT_EQ(state.tokens.size() + 1, items[i].tokens.size());
      for (std::size_t at = items[i].tokens.size(); at < text_.size() && drafts[i].size() < items[i].max_tokens; ++at) {
        const std::uint32_t token = at % 3 == 0 ? text_[at] ^ 1U : text_[at];
        drafts[i].push_back({token, Distribution::point(token)});
      }
    }
    return drafts;
  }

 private:
  Tokens text_;
  std::vector<std::size_t> layers_;
};

TEST(Drafter, ObservesTheStreamsOfEachAcceptedTokenOnce) {
  const auto model = load_model("official", {});
  const std::size_t last = model->config().layers.size() - 1;
  const Tokens prompt(Tokens{0, 5, 300, 7, 1200, 41, 5, 300, 9, 2, 77});
  GenerationParams params;
  params.max_tokens = 24;
  const auto finish = [](const Decoder& decoder, Generation& generation) {
    Generation* const one = &generation;
    while (!generation.finished()) decoder.step({&one, 1});
    return Tokens(generation.tokens().begin(), generation.tokens().end());
  };
  const Decoder plain(*model, {});
  Generation alone = plain.start(prompt, params);
  const Tokens text = finish(plain, alone);

  const Decoder decoder(*model, std::make_unique<Recorder>(text, std::vector<std::size_t>{0, last}), 4, 4);
  EXPECT_EQ(decoder.drafter_bytes({100, kMaxRollback}), 1000U);
  Generation drafted = decoder.start(prompt, params);
  EXPECT_EQ(finish(decoder, drafted), text);
  EXPECT_GT(drafted.counts().accepted_tokens, 8U);
  EXPECT_LT(drafted.counts().accepted_tokens, drafted.counts().draft_tokens);
  ProcessedSequence processed = std::move(drafted).take_processed();
  const auto& state = dynamic_cast<const Recorded&>(*processed.drafter_state());
  ASSERT_EQ(state.tokens, Tokens(processed.tokens().begin(), processed.tokens().end()));
  ASSERT_EQ(state.tokens.size(), text.size() - 1);

  // One pass over the whole sequence has the same streams.
  Sequence sequence = model->new_sequence({text.size(), 0});
  const ForwardItem item{&sequence, std::span(text).first(text.size() - 1), LogitsWanted::kNone};
  model->forward({&item, 1}, [&](std::size_t layer, const Rows& streams) {
    if (layer != 0 && layer != last) return;
    for (std::size_t i = 0; i < streams.rows(); ++i) {
      const std::vector<float>& seen = state.streams[layer == 0 ? 0 : 1][i];
      ASSERT_EQ(seen.size(), streams.cols());
      ASSERT_EQ(std::memcmp(seen.data(), streams[i].data(), seen.size() * sizeof(float)), 0) << layer << " " << i;
    }
  });
}

}  // namespace
}  // namespace outrider
