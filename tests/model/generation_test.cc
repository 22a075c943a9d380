// Tests speculation on real models, with every drafter: the output never changes, and drafts are accepted if the
// drafter is sound.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/decoding/mtp_drafter.h"
#include "outrider/testing/every_drafter.h"
#include "outrider/testing/sanitized.h"
#include "outrider/util/error.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using testing::Golden;
using ::testing::HasSubstr;
using testing::kEveryDrafter;
using testing::load_model;
using testing::make_decoder;
using Tokens = std::vector<std::uint32_t>;

struct Written {
  std::vector<Tokens> texts;
  SpeculationCounts counts;  // over all sequences
};

Written write(const std::vector<Tokens>& prompts, const GenerationParams& params, const Decoder& decoder,
              std::size_t batch) {
  Written out;
  for (std::size_t at = 0; at < prompts.size(); at += batch) {
    std::vector<std::unique_ptr<Generation>> generations;
    std::vector<Generation*> running;
    for (std::size_t i = at; i < std::min(at + batch, prompts.size()); ++i) {
      generations.push_back(std::make_unique<Generation>(decoder.start(prompts[i], params)));
      running.push_back(generations.back().get());
    }
    while (std::any_of(running.begin(), running.end(), [](const Generation* g) { return !g->finished(); })) {
      decoder.step(running);
    }
    for (const auto& g : generations) {
      out.texts.emplace_back(g->tokens().begin(), g->tokens().end());
      out.counts.drafts += g->counts().drafts;
      out.counts.draft_tokens += g->counts().draft_tokens;
      out.counts.accepted_tokens += g->counts().accepted_tokens;
    }
  }
  return out;
}

// Prompts of many lengths from the held-out text.
std::vector<Tokens> prompts(std::size_t count, std::uint64_t vocab_size = 2048) {
  Tokens text = Golden("deepseek-v4-kjv").tokens();
  for (std::uint32_t& token : text) token %= static_cast<std::uint32_t>(vocab_size);
  std::vector<Tokens> out;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = i * 131 % 900;
    const std::size_t length = 1 + i * 29 % 160;
    out.emplace_back(text.begin() + static_cast<std::ptrdiff_t>(begin),
                     text.begin() + static_cast<std::ptrdiff_t>(begin + length));
  }
  return out;
}

GenerationParams greedy(std::uint64_t max_tokens) {
  GenerationParams params;
  params.max_tokens = max_tokens;
  params.stop_token_ids = {1};
  return params;
}

class EveryForm : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryForm, GreedyOutputIsTheSameWithAndWithoutSpeculation) {
  // With OUTRIDER_LONG_TESTS set (make test-long), the number and length of sequences required for a release.
  const bool all = std::getenv("OUTRIDER_LONG_TESTS") != nullptr;
  const bool few = testing::kSanitized;
  const std::uint64_t length = all ? 128 : few ? 12 : 40;
  ModelOptions options;
  options.threads = all ? 1 : 2;  // these models are too small for more
  const auto model = load_model(GetParam(), options);
  const std::vector<Tokens> start = prompts(all ? 200 : few ? 3 : 6, model->config().vocab_size);
  const Written plain = write(start, greedy(length), Decoder(*model, {}), 1);
  EXPECT_EQ(write(start, greedy(length), Decoder(*model, {{}, 50}), 8).texts, plain.texts);
  // An untrained drafter is the same for every form.
  const std::vector<std::size_t> all_k = {1, 2, 3, 5, 8};
  const std::vector<std::size_t> one_k = {4};
  const std::vector<std::size_t> batches = few ? std::vector<std::size_t>{8} : std::vector<std::size_t>{1, 8};
  for (const std::string method : kEveryDrafter) {
    const DrafterMethod& needs = *find_drafter_method(method);
    if (needs.weights != DrafterKind::kNone && needs.weights != model->manifest().drafter()) continue;
    for (const std::size_t batch : batches) {
      const bool each = all || (batch != 1 && needs.weights != DrafterKind::kNone);
      for (const std::size_t k : each ? all_k : one_k) {
        const Written drafted = write(start, greedy(length), make_decoder(*model, method, k, 50), batch);
        EXPECT_EQ(drafted.texts, plain.texts) << method << " " << k << " " << batch;
        if (all) {
          std::printf("%s k=%zu batch=%zu: %zu sequences, acceptance %.3f, length %.2f\n", method.c_str(), k, batch,
                      drafted.texts.size(), drafted.counts.acceptance_rate(), drafted.counts.acceptance_length());
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryForm,
                         ::testing::Values("official", "bf16", "float32", "v3-names", "w4a16", "w4a16-aliases", "nvfp4",
                                           "nvfp4-modelopt", "fp8", "random-pro-like", "dspark"),
                         testing::name_of_test);

TEST(Generation, DraftsOfTheBundledModelAreAccepted) {
  const auto model = load_model("official", {});
  const Written written = write(prompts(16), greedy(64), make_decoder(*model, "mtp", 1), 8);
  EXPECT_GT(written.counts.draft_tokens, 400U);
  EXPECT_GT(written.counts.acceptance_rate(), 0.6);
}

TEST(Generation, DraftsOfDsparkAreAcceptedAndThoseAfterTheFirstToo) {
  const auto model = load_model("dspark", {});
  const Written first = write(prompts(16), greedy(64), make_decoder(*model, "dspark", 1), 8);
  EXPECT_GT(first.counts.acceptance_rate(), 0.5);
  const Written block = write(prompts(16), greedy(64), make_decoder(*model, "dspark", 5), 8);
  EXPECT_EQ(block.texts, first.texts);
  EXPECT_GT(10 * block.counts.accepted_tokens, 8 * block.counts.drafts);
}

TEST(Generation, ANarrowHeadChangesNeitherOutputNorAcceptance) {
  const auto model = load_model("official", {});
  const auto written = [&](std::uint64_t narrow_head_from) {
    auto drafter = std::make_unique<MtpDrafter>(*model, narrow_head_from);
    return write(prompts(8), greedy(48), Decoder(*model, std::move(drafter), 2, 512), 8);
  };
  const Written own = written(MtpDrafter::kNarrowHeadFrom);
  const Written narrow = written(0);
  EXPECT_EQ(narrow.texts, own.texts);
  EXPECT_NEAR(narrow.counts.acceptance_rate(), own.counts.acceptance_rate(), 0.01);
}

// Drafts with `drafter`, but not while the sequence is shorter than `from`; records the drafts by position.
class LateDrafter : public ForwardingDrafter {
 public:
  LateDrafter(std::unique_ptr<const Drafter> drafter, std::size_t from, std::map<std::size_t, std::uint32_t>& drafts)
      : ForwardingDrafter(std::move(drafter)), from_(from), drafts_(drafts) {}

  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override {
    if (items[0].tokens.size() < from_) return std::vector<std::vector<DraftToken>>(items.size());
    auto drafts = ForwardingDrafter::draft(items);
    drafts_[items[0].tokens.size()] = drafts[0][0].id;
    return drafts;
  }

 private:
  std::size_t from_;
  std::map<std::size_t, std::uint32_t>& drafts_;
};

TEST(Generation, DraftsAreTheSameAfterALongTimeWithoutDrafts) {
  for (const std::string method : {"mtp", "dspark"}) {
    const auto model = load_model(testing::model_of(method), {});
    ASSERT_EQ(model->config().sliding_window, 128U);
    const std::vector<Tokens> start = {prompts(4)[3]};
    const auto drafts = [&](std::size_t tokens_without) {
      std::map<std::size_t, std::uint32_t> by_position;
      auto drafter = std::make_unique<LateDrafter>(make_drafter(*model, testing::speculative_config(method, 1)),
                                                   start[0].size() + tokens_without, by_position);
      write(start, greedy(260), Decoder(*model, std::move(drafter), 1, 512), 1);
      return by_position;
    };
    const std::map<std::size_t, std::uint32_t> always = drafts(0);
    for (const std::size_t without : {3, 70, 220}) {  // within the window, in several passes, and beyond it
      std::size_t compared = 0;
      for (const auto& [position, token] : drafts(without)) {
        if (!always.contains(position)) continue;
        EXPECT_EQ(token, always.at(position)) << method << " " << without << " " << position;
        ++compared;
      }
      EXPECT_GT(compared, 5U);
    }
  }
}

TEST(Generation, AutomaticNumbersOfDraftsDoNotChangeTheOutput) {
  const auto model = load_model("official", {});
  const std::vector<Tokens> start = prompts(5);
  GenerationParams params = greedy(80);
  const auto written = [&](bool automatic) {
    return write(start, params, Decoder(*model, std::make_unique<MtpDrafter>(*model), automatic ? 4 : 1, 64, automatic),
                 5);
  };
  EXPECT_EQ(written(true).texts, write(start, params, Decoder(*model, {}), 5).texts);
  params.sampling.temperature = 1;
  params.reproducible = true;
  EXPECT_EQ(written(true).texts, write(start, params, Decoder(*model, {}), 5).texts);
}

TEST(Generation, CopiesOfTheHeadDoNotChangeAcceptance) {
  // The artifact of vLLM issue 43456 as saved, and after its repair.
  const auto text = [](const char* name) {
    const auto model = load_model(name, {});
    return write(prompts(6), greedy(48), make_decoder(*model, "mtp", 1), 6);
  };
  const Written saved = text("w4a16");
  const Written repaired = text("w4a16-aliases");
  EXPECT_EQ(saved.texts, repaired.texts);
  EXPECT_EQ(saved.counts.accepted_tokens, repaired.counts.accepted_tokens);
  EXPECT_GT(saved.counts.acceptance_rate(), 0.5);
}

TEST(Generation, ARandomHeadIsNeverAcceptedAndDoesNotChangeTheOutput) {
  const auto sound = load_model("official", {});
  const auto broken = load_model("mtp-head-random", {});
  const Written written = write(prompts(6), greedy(48), make_decoder(*broken, "mtp", 1), 6);
  EXPECT_EQ(written.texts, write(prompts(6), greedy(48), Decoder(*sound, {}), 1).texts);
  EXPECT_LT(written.counts.acceptance_rate(), 0.05);
}

class EveryDrafter : public ::testing::TestWithParam<const char*> {
 protected:
  Decoder decoder(const Model& model, std::size_t num_speculative_tokens, std::size_t chunk = 512) const {
    return make_decoder(model, GetParam(), num_speculative_tokens, chunk);
  }
  Decoder sparing_decoder(const Model& model, std::size_t num_speculative_tokens, double least) const {
    auto drafter = make_drafter(model, testing::speculative_config(GetParam(), num_speculative_tokens));
    return {model, std::make_unique<testing::SparingDrafter>(std::move(drafter), least), num_speculative_tokens, 512};
  }
};

INSTANTIATE_TEST_SUITE_P(All, EveryDrafter, ::testing::ValuesIn(kEveryDrafter),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(EveryDrafter, ChunkingOfPromptsDoesNotChangeDrafts) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const std::vector<Tokens> start = prompts(6);
  const Written whole = write(start, greedy(40), decoder(*model, 3), 1);
  for (const std::size_t chunk : {1, 7, 50}) {
    const Written cut = write(start, greedy(40), decoder(*model, 3, chunk), 6);
    EXPECT_EQ(cut.texts, whole.texts) << chunk;
    EXPECT_EQ(cut.counts.draft_tokens, whole.counts.draft_tokens) << chunk;
    EXPECT_EQ(cut.counts.accepted_tokens, whole.counts.accepted_tokens) << chunk;
  }
  EXPECT_GT(whole.counts.accepted_tokens, 0U);
}

TEST_P(EveryDrafter, UnlikelyDraftsAreLeftOutAndTheOutputStays) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const std::vector<Tokens> start = prompts(6);
  const Written all = write(start, greedy(40), decoder(*model, 4), 6);
  const Written likely = write(start, greedy(40), sparing_decoder(*model, 4, 0.4), 6);
  const Written certain = write(start, greedy(40), sparing_decoder(*model, 4, 0.8), 6);
  EXPECT_EQ(likely.texts, all.texts);
  EXPECT_EQ(certain.texts, all.texts);
  EXPECT_LT(10 * likely.counts.draft_tokens, 9 * all.counts.draft_tokens);
  EXPECT_LT(10 * certain.counts.draft_tokens, 9 * likely.counts.draft_tokens);
  EXPECT_GT(likely.counts.acceptance_rate(), 1.1 * all.counts.acceptance_rate());
}

TEST_P(EveryDrafter, PenaltiesApplyToDrafterAndVerifier) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  GenerationParams params = greedy(48);
  params.sampling.repetition_penalty = 1.3;
  params.sampling.presence_penalty = 0.4;
  params.sampling.frequency_penalty = 0.2;
  const Written plain = write(prompts(4), params, decoder(*model, 0), 1);
  EXPECT_NE(plain.texts, write(prompts(4), greedy(48), decoder(*model, 0), 1).texts);
  for (const std::size_t k : {1, 4}) {
    EXPECT_EQ(write(prompts(4), params, decoder(*model, k), 4).texts, plain.texts) << k;
  }
}

TEST_P(EveryDrafter, SampledOutputHasTheSameDistribution) {
  // The distribution of the second token after one prompt over many seeds, with and without drafts.
  const auto model = load_model(testing::model_of(GetParam()), {});
  // The prompt ends as it begins, so that n-gram lookup finds a match.
  Tokens begin = prompts(3)[2];
  begin.resize(6);
  Tokens prompt = write({begin}, greedy(8), decoder(*model, 0), 1).texts[0];
  prompt.insert(prompt.end(), begin.begin(), begin.end());
  GenerationParams params = greedy(3);
  params.stop_token_ids.clear();
  params.sampling.temperature = 0.9;
  params.sampling.top_k = 4;
  constexpr std::uint64_t kTexts = 400;
  const auto tally = [&](const Decoder& with_drafts, std::uint64_t seed) {
    std::map<std::uint32_t, double> counts;
    std::uint64_t accepted = 0;
    std::vector<std::unique_ptr<Generation>> generations;
    std::vector<Generation*> running;
    for (std::uint64_t i = 0; i < kTexts; i += 40) {
      generations.clear();
      running.clear();
      for (std::uint64_t j = 0; j < 40; ++j) {
        params.seed = seed + i + j;
        generations.push_back(std::make_unique<Generation>(with_drafts.start(prompt, params)));
        running.push_back(generations.back().get());
      }
      while (std::any_of(running.begin(), running.end(), [](const Generation* g) { return !g->finished(); })) {
        with_drafts.step(running);
      }
      for (const auto& g : generations) {
        ++counts[g->tokens()[prompt.size() + 1]];
        accepted += g->counts().accepted_tokens;
      }
    }
    EXPECT_EQ(accepted != 0, seed != 0);
    return counts;
  };
  const auto plain = tally(decoder(*model, 0), 0);
  const Decoder all = decoder(*model, 2);
  const Decoder likely = sparing_decoder(*model, 2, 0.45);
  struct Case {
    bool coupled;
    const Decoder& decoder;
    std::uint64_t seed;
  };
  for (const auto& [coupled, with_drafts, seed] :
       {Case{false, all, 1'000'000}, Case{true, all, 2'000'000}, Case{false, likely, 3'000'000}}) {
    params.reproducible = coupled;
    const auto speculative = tally(with_drafts, seed);
    // Two samples of one distribution: chi-square over frequent tokens, within 4 standard deviations.
    double statistic = 0;
    double degrees = -1;
    for (const auto& [token, n] : plain) {
      const auto found = speculative.find(token);
      const double m = found == speculative.end() ? 0 : found->second;
      if (n + m < 20) continue;
      statistic += (n - m) * (n - m) / (n + m);
      ++degrees;
    }
    ASSERT_GE(degrees, 2);
    EXPECT_LT(statistic, degrees + 4 * std::sqrt(2 * degrees)) << seed;
  }
}

TEST_P(EveryDrafter, ASeedMeansTheSameTextWhateverIsDrafted) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const std::vector<Tokens> start = prompts(testing::kSanitized ? 2 : 8);
  GenerationParams params = greedy(testing::kSanitized ? 10 : 30);
  params.sampling.temperature = 1;
  params.reproducible = true;
  for (const double top_p : {1.0, 0.8}) {
    params.sampling.top_p = top_p;
    params.seed += 7;
    const Written plain = write(start, params, Decoder(*model, {}), 1);
    std::uint64_t accepted = 0;
    for (const std::size_t k : {1, 2, 3, 4, 5, 6, 7}) {
      const Written drafted = write(start, params, decoder(*model, k, 50), k == 3 ? 1 : 16);
      EXPECT_EQ(drafted.texts, plain.texts) << k << " " << top_p;
      accepted += drafted.counts.accepted_tokens;
    }
    if (!testing::kSanitized) {  // too few tokens for n-grams otherwise
      EXPECT_GT(accepted, 0U);
    }
  }
}

TEST_P(EveryDrafter, StopsAtAStopTokenDraftedOrNot) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(2)[1];
  const Tokens text = write({prompt}, greedy(30), decoder(*model, 0), 1).texts[0];
  GenerationParams params = greedy(30);
  for (const std::size_t at : {prompt.size(), prompt.size() + 5, prompt.size() + 6}) {
    params.stop_token_ids = {text[at]};
    const auto first = std::find(text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end(), text[at]);
    const Tokens expected(text.begin(), first + 1);
    for (const std::size_t k : {0, 1, 3}) {
      EXPECT_EQ(write({prompt}, params, decoder(*model, k), 1).texts[0], expected) << k;
    }
  }
}

// Generates to the end; returns the output.
Tokens finish(const Decoder& decoder, Generation& generation) {
  Generation* const one = &generation;
  while (!generation.finished()) decoder.step({&one, 1});
  return {generation.tokens().begin(), generation.tokens().end()};
}

TEST_P(EveryDrafter, AConversationReusesItsSequence) {
  const bool dspark = std::string(GetParam()) == "dspark";
  for (const std::string& name :
       {testing::model_of(GetParam()), std::string(dspark ? "random-dspark-pro-like" : "random-pro-like")}) {
    const auto model = load_model(name, {});
    const std::vector<Tokens> turns = prompts(4, model->config().vocab_size);
    for (const std::size_t k : {0, 1, 3}) {
      const Decoder turns_decoder = decoder(*model, k, 4096);
      ProcessedSequence kept = turns_decoder.new_sequence({2048, kMaxRollback});
      Tokens text;
      for (const Tokens& turn : turns) {
        text.insert(text.end(), turn.begin(), turn.end());
        text.push_back(7);
        text.push_back(8);
        Generation alone = turns_decoder.start(text, greedy(20));
        Generation going_on(*model, std::move(kept), text, greedy(20));
        EXPECT_EQ(going_on.reused_tokens(), text.size() == turn.size() + 2 ? 0 : text.size() - turn.size() - 3);
        const Tokens expected = finish(turns_decoder, alone);
        ASSERT_EQ(finish(turns_decoder, going_on), expected) << name << " " << k;
        // The drafter's state is also the same as if every token had been processed again.
        EXPECT_EQ(going_on.counts().accepted_tokens, alone.counts().accepted_tokens) << name << " " << k;
        EXPECT_EQ(going_on.counts().draft_tokens, alone.counts().draft_tokens) << name << " " << k;
        text = expected;
        kept = std::move(going_on).take_processed();
      }
    }
  }
}

TEST_P(EveryDrafter, ReusesSequencesThatDifferInTheirLastTokens) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(6)[5];
  for (const std::size_t k : {0, 1, 3}) {
    const Decoder with_drafts = decoder(*model, k, 64);
    Generation first = with_drafts.start(prompt, greedy(24));
    const Tokens text = finish(with_drafts, first);
    for (const std::size_t back :
         k == 1 ? std::vector<std::size_t>{2, 16} : std::vector<std::size_t>{0, 1, 15, 17, 20}) {
      const std::size_t length = text.size() - back;
      for (const bool other : {false, true}) {
        // The same sequence without its end, and with another token after it or none.
        Tokens shorter(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
        if (other) shorter.push_back(text.size() > length && text[length] == 9 ? 10 : 9);
        Generation alone = with_drafts.start(shorter, greedy(8));
        Generation again(*model, with_drafts.new_sequence({400, kMaxRollback}), prompt, greedy(24));
        ASSERT_EQ(finish(with_drafts, again), text);
        Generation going_on(*model, std::move(again).take_processed(), shorter, greedy(8));
        if (back > kMaxRollback + 1) {  // the last generated token is not processed
          EXPECT_EQ(going_on.reused_tokens(), 0U) << back;
        } else if (back + k < kMaxRollback - 2) {
          EXPECT_GE(going_on.reused_tokens() + 3, shorter.size()) << k << " " << back;
        }
        EXPECT_EQ(finish(with_drafts, going_on), finish(with_drafts, alone)) << k << " " << back << " " << other;
      }
    }
  }
}

TEST_P(EveryDrafter, ACancelledPromptIsReused) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(6)[5];
  const Decoder by_tens = decoder(*model, 1, 10);
  Generation cancelled = by_tens.start(prompt, greedy(8));
  Generation* const one = &cancelled;
  for (int i = 0; i < 4; ++i) by_tens.step({&one, 1});
  EXPECT_EQ(cancelled.prompt_tokens_left(), prompt.size() - 40);
  ProcessedSequence kept = std::move(cancelled).take_processed();
  EXPECT_EQ(kept.reusable(prompt), 40U);
  EXPECT_EQ(kept.reusable(Tokens{1, 2, 3}), 0U);
  EXPECT_THROW(Generation(*model, by_tens.new_sequence({100, 16}), prompt, greedy(8)), Error);
  Generation alone = by_tens.start(prompt, greedy(8));
  Generation going_on(*model, std::move(kept), prompt, greedy(8));
  EXPECT_EQ(finish(by_tens, going_on), finish(by_tens, alone));
}

// Allows ids with one remainder modulo 3, which changes with every token, so that the mask depends on all tokens
// before.
class ByRemainder : public TokenMask {
 public:
  void apply(std::span<float> logits) override {
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (id % 3 != (sum_.empty() ? 0 : sum_.back() % 3)) logits[id] = -std::numeric_limits<float>::infinity();
    }
  }
  void advance(std::uint32_t token) override {
    EXPECT_EQ(token % 3, sum_.empty() ? 0 : sum_.back() % 3);
    sum_.push_back((sum_.empty() ? 0 : sum_.back()) + token / 3);
  }
  void rollback(std::size_t tokens) override { sum_.resize(sum_.size() - tokens); }

 private:
  std::vector<std::uint64_t> sum_;
};

TEST_P(EveryDrafter, AMaskAppliesToDrafterAndVerifier) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  for (const double temperature : {0.0, 0.8}) {
    Tokens plain;
    for (const std::size_t k : {0, 1, 3}) {
      GenerationParams params = greedy(60);
      params.stop_token_ids.clear();
      params.sampling.temperature = temperature;
      const Decoder with_drafts = decoder(*model, k);
      Generation masked = with_drafts.start(prompts(3)[2], params);
      masked.constrain(std::make_unique<ByRemainder>());
      const Tokens text = finish(with_drafts, masked);
      if (k == 0) plain = text;
      if (temperature == 0) {
        EXPECT_EQ(text, plain);
      }
      if (k != 0) {
        EXPECT_GT(masked.counts().accepted_tokens, 0U);
      }
    }
  }
}

// Rules that change a greedy output much.
std::map<std::string, OutputRules> rules_against(const Tokens& output, std::uint32_t last_of_prompt) {
  std::map<std::string, OutputRules> rules;
  rules["min_tokens"].min_tokens = 20;
  rules["min_tokens"].end_tokens = {output[2], output[5]};
  for (std::size_t i = 0; i + 2 < output.size(); i += 3) {
    rules["bad_words"].bad_words.push_back({output[i], output[i + 1]});
    rules["bad_words"].bad_words.push_back({output[i + 2]});
  }
  rules["allowed_token_ids"].allowed_token_ids.emplace();
  for (std::uint32_t id = 0; id < 2048; id += 3) rules["allowed_token_ids"].allowed_token_ids->push_back(id);
  for (const std::uint64_t tokens : {0, 1, 7}) {
    OutputRules& budget = rules["budget " + std::to_string(tokens)];
    budget.thinking_budget = {last_of_prompt, 7, tokens};
    budget.bad_words = {{last_of_prompt}};  // thinking does not start again
  }
  OutputRules& all = rules["all"] = rules["bad_words"];
  all.allowed_token_ids = rules["allowed_token_ids"].allowed_token_ids;
  all.min_tokens = 20;
  all.end_tokens = {output[2]};
  all.thinking_budget = {last_of_prompt, 7, 9};
  all.bad_words.push_back({last_of_prompt});
  return rules;
}

void expect_obeyed(const OutputRules& rules, const Tokens& output) {
  for (std::size_t i = 0; i < output.size(); ++i) {
    const bool forced = rules.thinking_budget && i == rules.thinking_budget->tokens;
    if (forced) {
      EXPECT_EQ(output[i], rules.thinking_budget->end);
      continue;
    }
    if (rules.allowed_token_ids) {
      EXPECT_THAT(*rules.allowed_token_ids, ::testing::Contains(output[i]));
    }
    if (i < rules.min_tokens) {
      EXPECT_THAT(rules.end_tokens, ::testing::Not(::testing::Contains(output[i])));
    }
    for (const Tokens& word : rules.bad_words) {
      const std::span<const std::uint32_t> until = std::span(output).first(i + 1);
      EXPECT_FALSE(until.size() >= word.size() && std::ranges::equal(until.last(word.size()), word));
    }
  }
}

TEST_P(EveryDrafter, OutputRulesApplyToDrafterAndVerifier) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(3)[2];
  GenerationParams params = greedy(40);
  params.stop_token_ids.clear();
  const auto output = [&](std::size_t k) {
    const Decoder with_drafts = decoder(*model, k);
    Generation generation = with_drafts.start(prompt, params);
    const Tokens text = finish(with_drafts, generation);
    if (k != 0) {
      EXPECT_GT(generation.counts().draft_tokens, 0U);
    }
    return Tokens(text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end());
  };
  const Tokens plain = output(0);
  for (const auto& [name, rules] : rules_against(plain, prompt.back())) {
    params.rules = rules;
    for (const double temperature : {0.0, 0.8}) {
      params.sampling.temperature = temperature;
      params.reproducible = true;
      const Tokens without = output(0);
      expect_obeyed(rules, without);
      if (temperature == 0) {
        EXPECT_NE(without, plain) << name;
      }
      EXPECT_EQ(output(3), without) << name << " " << temperature;
    }
    params.sampling.temperature = 0.8;
    params.reproducible = false;
    expect_obeyed(rules, output(3));
  }
}

TEST_P(EveryDrafter, AnOutputThatCannotContinueIsAnError) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  for (const double temperature : {0.0, 0.8}) {
    for (const std::size_t k : {0, 3}) {
      const Decoder with_drafts = decoder(*model, k);
      GenerationParams params = greedy(20);
      params.sampling.temperature = temperature;
      params.rules.allowed_token_ids = {5, 6};
      params.rules.bad_words = {{5, 5, 5}, {5, 5, 6}, {5, 6}, {6, 5}, {6, 6, 5}, {6, 6, 6}};
      Generation generation = with_drafts.start(prompts(3)[2], params);
      Generation* const one = &generation;
      for (int i = 0; i < 20 && generation.error().empty(); ++i) with_drafts.step({&one, 1});
      EXPECT_THAT(generation.error(), HasSubstr("number 3 of the output"));
      EXPECT_EQ(generation.tokens().size(), generation.prompt_tokens() + 2);
      EXPECT_FALSE(generation.finished());
    }
  }
}

TEST_P(EveryDrafter, LogprobsEqualTheModels) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(4)[3];
  GenerationParams params = greedy(24);
  params.logprobs = 3;
  params.prompt_logprobs = 3;
  params.sampling.repetition_penalty = 1.2;
  for (const std::size_t k : {0, 2}) {
    const Decoder with_drafts = decoder(*model, k, 11);
    Generation generation = with_drafts.start(prompt, params);
    Generation* const one = &generation;
    std::vector<TokenLogprobs> written;
    while (!generation.finished()) {
      with_drafts.step({&one, 1});
      for (const OutputToken& token : generation.new_tokens()) written.push_back(*token.logprobs);
    }
    std::vector<TokenLogprobs> all(generation.prompt_logprobs().begin(), generation.prompt_logprobs().end());
    all.insert(all.end(), written.begin(), written.end());
    // The model's logits for the finished sequence, in one pass.
    const Tokens text(generation.tokens().begin(), generation.tokens().end());
    ASSERT_EQ(all.size(), text.size() - 1);
    Sequence sequence = model->new_sequence({text.size(), 0});
    const ForwardItem item{&sequence, text, LogitsWanted::kAll};
    const Rows logits = model->forward({&item, 1}).logits;
    for (std::size_t i = 0; i + 1 < text.size(); ++i) {
      double total = 0;
      for (const float logit : logits[i]) total += std::exp(static_cast<double>(logit));
      EXPECT_NEAR(all[i].logprob, static_cast<double>(logits[i][text[i + 1]]) - std::log(total), 1e-4);
      ASSERT_EQ(all[i].top.size(), 3U);
      EXPECT_EQ(logits[i][all[i].top[0].id], *std::max_element(logits[i].begin(), logits[i].end()));
      EXPECT_GE(all[i].top[1].logprob, all[i].top[2].logprob);
      const auto likelier = std::ranges::count_if(logits[i], [&](float l) { return l > logits[i][text[i + 1]]; });
      EXPECT_EQ(all[i].rank, likelier + 1);
    }
  }
}

TEST_P(EveryDrafter, LogitBiasAffectsSingleTokens) {
  const auto model = load_model(testing::model_of(GetParam()), {});
  const Tokens prompt = prompts(4)[3];
  const Tokens plain = write({prompt}, greedy(12), decoder(*model, 1), 1).texts[0];
  GenerationParams params = greedy(12);
  params.sampling.logit_bias = {{plain[prompt.size()], -100}};
  for (const std::size_t k : {0, 2}) {
    const Tokens text = write({prompt}, params, decoder(*model, k), 1).texts[0];
    EXPECT_EQ(std::count(text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end(), plain[prompt.size()]),
              0);
  }
  params.sampling.logit_bias = {{5, 100}};
  EXPECT_EQ(write({prompt}, params, decoder(*model, 1), 1).texts[0].back(), 5U);
  params.sampling.logit_bias = {{2048, 1}};
  EXPECT_THROW(decoder(*model, 0).start(prompt, params), Error);
}

TEST(Generation, RejectsInvalidRequests) {
  const auto model = load_model("random-no-mtp", {});
  const Decoder decoder(*model, {});
  EXPECT_THROW(decoder.start({}, greedy(1)), Error);
  EXPECT_THROW(decoder.start({1, 2}, greedy(0)), Error);
  EXPECT_THROW(decoder.start({1, 2}, greedy(8191)), Error);
  EXPECT_THROW(make_decoder(*model, "mtp", 1), Error);
  EXPECT_THROW(make_decoder(*model, "", 1), Error);
  EXPECT_THROW(make_decoder(*model, "eagle", 1), Error);
  EXPECT_THROW(make_decoder(*model, "ngram", kMaxSpeculativeTokens + 1), Error);
  Generation outside = decoder.start({159, 160}, greedy(1));
  Generation* const one = &outside;
  EXPECT_THROW(decoder.step({&one, 1}), Error);
}

TEST(Generation, NgramsNeedNothingOfTheCheckpoint) {
  const auto model = load_model("random-no-mtp", {});
  const std::vector<Tokens> start = prompts(6, model->config().vocab_size);
  const Written plain = write(start, greedy(40), Decoder(*model, {}), 1);
  const Written drafted = write(start, greedy(40), make_decoder(*model, "ngram", 4), 6);
  EXPECT_EQ(drafted.texts, plain.texts);
  EXPECT_GT(drafted.counts.draft_tokens, 0U);
}

TEST(Generation, ASequenceOfAnotherDrafterIsRefused) {
  const auto model = load_model("official", {});
  const Decoder drafting = make_decoder(*model, "mtp", 1);
  Generation other = make_decoder(*model, "ngram", 1).start({1, 2, 3}, greedy(4));
  Generation* const one = &other;
  EXPECT_THROW(drafting.step({&one, 1}), Error);
}

}  // namespace
}  // namespace outrider
