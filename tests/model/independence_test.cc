// A token's result is bit-identical whatever else is in its batch, however the sequence is divided into passes, and
// whatever was drafted and rolled back.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/model/golden.h"

namespace outrider {
namespace {

using testing::load_model;
using testing::SequenceWithMtp;

constexpr std::size_t kLength = 300;

std::vector<std::uint32_t> some_tokens(std::size_t count, std::uint32_t seed, std::uint64_t vocab_size) {
  std::vector<std::uint32_t> tokens(count);
  std::uint32_t state = seed;
  for (std::uint32_t& token : tokens) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<std::uint32_t>((state >> 8) % vocab_size);
  }
  return tokens;
}

struct Everything {
  std::vector<float> logits;      // [tokens, V]
  std::vector<float> mtp_logits;  // [tokens, V]

  bool operator==(const Everything& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return same(logits, other.logits) && same(mtp_logits, other.mtp_logits);
  }
};

void append(std::vector<float>& to, const Rows& rows, std::size_t begin, std::size_t end) {
  for (std::size_t r = begin; r < end; ++r) to.insert(to.end(), rows[r].begin(), rows[r].end());
}

// Runs tokens[0, kLength) in passes of `chunk`; `tokens` has one more.
Everything run(const Model& model, SequenceWithMtp& state, std::span<const std::uint32_t> tokens, std::size_t chunk) {
  Everything out;
  for (std::size_t at = 0; at < kLength; at += chunk) {
    const std::size_t count = std::min(chunk, kLength - at);
    const ForwardItem item{&state.sequence, tokens.subspan(at, count), LogitsWanted::kAll};
    const ForwardResult result = model.forward({&item, 1});
    append(out.logits, result.logits, 0, count);
    const MtpItem draft{&state.mtp, tokens.subspan(at + 1, count), 0, LogitsWanted::kAll};
    append(out.mtp_logits, run_mtp(model, {&draft, 1}, result.streams).logits, 0, count);
  }
  return out;
}

class Independence : public ::testing::TestWithParam<NumericMode> {
 protected:
  Independence()
      : variant_(GetParam() == NumericMode::kExact ? "random-every-layer-type-float32" : "random-every-layer-type"),
        model_(load_model(variant_, {GetParam()})),
        tokens_(some_tokens(kLength + 1, 1, model_->config().vocab_size)) {}

  SequenceWithMtp new_sequence(std::uint64_t max_rollback = 16) const { return {*model_, {2000, max_rollback}}; }

  Everything whole() const {
    SequenceWithMtp sequence = new_sequence();
    return run(*model_, sequence, tokens_, kLength);
  }

  std::string variant_;
  std::unique_ptr<Model> model_;
  std::vector<std::uint32_t> tokens_;
};

TEST_P(Independence, OfChunks) {
  const Everything expected = whole();
  for (const std::size_t chunk : {1U, 2U, 7U, 128U, 131U, 299U}) {
    SequenceWithMtp sequence = new_sequence();
    EXPECT_TRUE(run(*model_, sequence, tokens_, chunk) == expected) << "in passes of " << chunk;
  }
}

TEST_P(Independence, OfOtherSequencesInTheBatch) {
  const Everything expected = whole();
  SequenceWithMtp ours = new_sequence();
  SequenceWithMtp ahead = new_sequence();
  SequenceWithMtp beside = new_sequence();
  const std::vector<std::uint32_t> others = some_tokens(3 * kLength, 2, model_->config().vocab_size);
  Everything got;
  std::size_t other_at = 0;
  for (std::size_t at = 0; at < kLength;) {
    const std::size_t count = std::min<std::size_t>(at % 3 + 1, kLength - at);
    const ForwardItem items[] = {
        {&ahead.sequence, std::span(others).subspan(other_at, 4), LogitsWanted::kLast},
        {&ours.sequence, std::span(tokens_).subspan(at, count), LogitsWanted::kAll},
        {&beside.sequence, std::span(others).subspan(other_at / 4, at % 2), LogitsWanted::kAll},
    };
    const ForwardResult result = model_->forward(items);
    append(got.logits, result.logits, 1, 1 + count);
    const MtpItem drafts[] = {
        {&ours.mtp, std::span(tokens_).subspan(at + 1, count), 4, LogitsWanted::kAll},
        {&ahead.mtp, std::span(others).subspan(other_at + 1, 4), 0, LogitsWanted::kNone},
    };
    append(got.mtp_logits, run_mtp(*model_, drafts, result.streams).logits, 0, count);
    at += count;
    other_at += 4;
  }
  EXPECT_TRUE(got == expected);
}

TEST_P(Independence, OfRolledBackDrafts) {
  const Everything expected = whole();
  const std::uint64_t vocab_size = model_->config().vocab_size;
  for (const std::size_t drafts : {1U, 4U, 16U}) {
    SequenceWithMtp state = new_sequence(drafts);
    Everything got;
    for (std::size_t at = 0; at < kLength;) {
      // The next tokens (some of which are kept), then different ones, which are all rolled back.
      const std::size_t kept = std::min<std::size_t>(1 + at % 3, kLength - at);
      std::vector<std::uint32_t> tokens(tokens_.begin() + static_cast<std::ptrdiff_t>(at),
                                        tokens_.begin() + static_cast<std::ptrdiff_t>(at + kept));
      const std::vector<std::uint32_t> wrong =
          some_tokens(drafts, static_cast<std::uint32_t>(at * 31 + drafts), vocab_size);
      tokens.insert(tokens.end(), wrong.begin(), wrong.end());
      const ForwardItem item{&state.sequence, tokens, LogitsWanted::kAll};
      const ForwardResult result = model_->forward({&item, 1});
      append(got.logits, result.logits, 0, kept);
      state.sequence.truncate(at + kept);
      // The MTP block drafts from its own streams, then returns to the model's.
      const MtpItem draft{&state.mtp, std::span(tokens_).subspan(at + 1, kept), 0, LogitsWanted::kAll};
      ForwardResult drafted = run_mtp(*model_, {&draft, 1}, result.streams);
      append(got.mtp_logits, drafted.logits, 0, kept);
      std::size_t row = kept - 1;
      for (std::size_t i = 0; i < drafts; ++i) {
        const MtpItem further{&state.mtp, std::span(wrong).subspan(i, 1), row, LogitsWanted::kLast};
        drafted = run_mtp(*model_, {&further, 1}, drafted.streams);
        row = 0;
      }
      state.mtp.truncate(at + kept);
      at += kept;
    }
    EXPECT_TRUE(got == expected) << drafts << " drafts";
  }
}

TEST_P(Independence, OfThreads) {
  const Everything expected = whole();
  const auto alone =
      load_model(GetParam() == NumericMode::kExact ? "random-every-layer-type-float32" : "random-every-layer-type",
                 {GetParam(), 1});
  SequenceWithMtp sequence(*alone, {kLength, 0});
  EXPECT_TRUE(run(*alone, sequence, tokens_, 64) == expected);
}

// The vector paths are bit-identical. The scalar path rounds products before adding them, products of BF16 values add
// in another order in official numerics, and these amplify a last-bit difference.
TEST_P(Independence, OfTheInstructionSet) {
  const bool exact = GetParam() == NumericMode::kExact;
  const Everything usual = whole();
  std::optional<Everything> expected;
  for (const Kernels* kernels : available_kernels()) {
    const auto other = load_model(variant_, {.mode = GetParam(), .threads = 2, .kernels = kernels});
    SequenceWithMtp sequence(*other, {kLength, 0});
    const Everything got = run(*other, sequence, tokens_, kLength);
    const double distance = testing::relative_distance(got.logits, usual.logits);
    EXPECT_LT(distance, exact ? 1e-5 : 0.1);
    fmt::print("{}: relative distance of logits {:.1e}\n", kernels->name, distance);
    if (kernels == &scalar_kernels() || (!exact && kernels->bf16_products != nullptr)) continue;
    if (expected) {
      EXPECT_TRUE(got == *expected) << kernels->name;
    } else {
      expected.emplace(got);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Independence,
                         ::testing::Values(NumericMode::kOfficial, NumericMode::kFast, NumericMode::kExact),
                         [](const auto& test) { return std::string(mode_name(test.param)); });

}  // namespace
}  // namespace outrider
