// Tests of the engine on the bundled model.

#include "outrider/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <future>
#include <map>
#include <optional>
#include <string>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/engine/memory_plan.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/testing/bundled_model.h"
#include "outrider/testing/every_drafter.h"

namespace outrider {
namespace {

using testing::bundled_tokenizer;
using ::testing::HasSubstr;
using Tokens = std::vector<std::uint32_t>;
constexpr std::uint64_t kPlenty = std::uint64_t{1} << 50;  // bytes

const Model& model() {
  static const auto one = testing::load_bundled_model();
  return *one;
}

EngineOptions options() {
  EngineOptions options;
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 64;
  options.max_model_len = 1024;
  options.max_waiting = 8;
  options.speculative_config.num_speculative_tokens = 1;
  return options;
}

Request request(const std::string& prompt, std::uint64_t max_tokens) {
  Request request;
  request.prompt = text_prompt_ids(bundled_tokenizer(), prompt);
  request.params.max_tokens = max_tokens;
  request.params.stop_token_ids = {1};
  return request;
}

// Collects what the engine sends for one request.
class Answer {
 public:
  ProgressSink sink() {
    return [this](Progress progress) {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(end_) << "progress after the end";
      for (const OutputToken& token : progress.tokens) tokens_.push_back(token.id);
      text_ += progress.text;
      ++steps_;
      if (progress.outcome) end_ = std::move(progress);
      changed_.notify_all();
    };
  }
  const Progress& wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return end_.has_value(); });
    return *end_;
  }
  void wait_for_text() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return end_.has_value() || !tokens_.empty(); });
  }
  Tokens tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  std::size_t steps() {
    const std::lock_guard lock(mutex_);
    return steps_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Tokens tokens_;
  std::string text_;
  std::size_t steps_ = 0;
  std::optional<Progress> end_;
};

Engine::RequestId submit(Engine& engine, Request request, Answer& answer) {
  std::vector<Engine::Submission> one;
  one.push_back({std::move(request), answer.sink()});
  return engine.submit(std::move(one))[0];
}

Tokens alone(const Request& request) {
  const Decoder decoder(model(), {});
  Generation generation = decoder.start(request.prompt, request.params);
  Generation* const one = &generation;
  while (!generation.finished()) decoder.step({&one, 1});
  return {generation.tokens().begin() + static_cast<std::ptrdiff_t>(generation.prompt_tokens()),
          generation.tokens().end()};
}

std::string chapter(int number) {
  std::string text = "Genesis " + std::to_string(number) + "\n\n";
  for (int i = 0; i < number; ++i) text += "1 And it came to pass in those days, that he went up. ";
  return text;
}

TEST(Engine, ConcurrentSequencesEqualSequencesGeneratedAlone) {
  std::vector<Tokens> expected;
  for (int i = 0; i < 12; ++i) expected.push_back(alone(request(chapter(i), 20 + i)));
  const SpeculativeConfig configs[] = {
      {}, {"mtp", 1}, {"", 3}, testing::speculative_config("ngram", 1), testing::speculative_config("ngram", 3)};
  for (const SpeculativeConfig& config : configs) {
    const std::size_t k = config.num_speculative_tokens;
    EngineOptions opts = options();
    opts.speculative_config = config;
    Engine engine(model(), bundled_tokenizer(), opts);
    std::vector<Answer> answers(12);
    std::uint64_t drafts = 0;
    for (int i = 0; i < 12; ++i) submit(engine, request(chapter(i), 20 + i), answers[i]);
    for (int i = 0; i < 12; ++i) {
      const Progress& end = answers[i].wait();
      EXPECT_EQ(end.outcome, expected[i].back() == 1 ? Outcome::kStop : Outcome::kLength);
      EXPECT_EQ(answers[i].tokens(), expected[i]) << config.method << " " << k << " " << i;
      EXPECT_EQ(answers[i].text(), bundled_tokenizer().decode(expected[i], true));
      drafts += end.speculation.drafts;
    }
    EXPECT_EQ(drafts != 0, k != 0);
  }
}

TEST(Engine, APromptThatExtendsACachedSequenceReusesIt) {
  Engine engine(model(), bundled_tokenizer(), options());
  // Three interleaved conversations of four turns each.
  std::map<int, Tokens> texts;
  for (int turn = 0; turn < 4; ++turn) {
    for (int conversation = 0; conversation < 3; ++conversation) {
      Request next = request(chapter(3 + conversation), 24);
      if (turn > 0) {
        next.prompt = texts[conversation];
        const Tokens more = bundled_tokenizer().encode("\nAnd the LORD said unto him, ");
        next.prompt.insert(next.prompt.end(), more.begin(), more.end());
      }
      const Tokens expected = alone(next);
      Tokens& text = texts[conversation];
      const std::size_t known = turn == 0 ? 0 : text.size() - 1;
      text = next.prompt;
      Answer answer;
      submit(engine, std::move(next), answer);
      EXPECT_EQ(answer.wait().cached_tokens, known) << turn << " " << conversation;
      EXPECT_EQ(answer.tokens(), expected);
      text.insert(text.end(), expected.begin(), expected.end());
    }
  }
}

TEST(Engine, TheLeastRecentlyUsedSequenceIsEvictedFirst) {
  EngineOptions opts = options();
  opts.max_num_seqs = 2;
  Engine engine(model(), bundled_tokenizer(), opts);
  const auto cached = [&](const std::string& text) {
    Answer answer;
    submit(engine, request(text, 1), answer);
    return answer.wait().cached_tokens;
  };
  // The first token, which all sequences share, may always be cached.
  EXPECT_EQ(cached("In the beginning God created the heaven"), 0U);
  EXPECT_EQ(cached("Moses spake unto the children of Israel"), 0U);
  EXPECT_GT(cached("In the beginning God created the heaven and the earth"), 5U);
  EXPECT_LE(cached("Whosoever lieth with a beast"), 1U);  // evicts Moses
  EXPECT_GT(cached("In the beginning God created the heaven and the earth."), 5U);
  EXPECT_LE(cached("Moses spake unto the children of Israel"), 1U);
}

TEST(Engine, WithoutPrefixCachingEveryPromptIsProcessedCompletely) {
  EngineOptions opts = options();
  opts.prefix_caching = false;
  Engine engine(model(), bundled_tokenizer(), opts);
  std::string first;
  for (int turn = 0; turn < 2; ++turn) {
    Answer answer;
    submit(engine, request("In the beginning God created the heaven and the earth", 8), answer);
    EXPECT_EQ(answer.wait().cached_tokens, 0U);
    if (turn == 0) first = answer.text();
    EXPECT_EQ(answer.text(), first);
  }
}

TEST(Engine, CancelledRequestsEndAndFreeTheirSequences) {
  EngineOptions opts = options();
  opts.max_num_seqs = 1;
  Engine engine(model(), bundled_tokenizer(), opts);
  Request endless = request("Genesis 1\n\n", 900);
  endless.params.stop_token_ids.clear();
  Answer running;
  Answer waiting;
  const Engine::RequestId first = submit(engine, std::move(endless), running);
  running.wait_for_text();
  const Engine::RequestId second = submit(engine, request("Genesis 2\n\n", 9), waiting);
  engine.cancel(second);
  EXPECT_EQ(waiting.wait().outcome, Outcome::kCancelled);
  EXPECT_EQ(waiting.tokens(), Tokens{});
  engine.cancel(first);
  EXPECT_EQ(running.wait().outcome, Outcome::kCancelled);
  EXPECT_LT(running.tokens().size(), 900U);
  Answer next;
  const Tokens expected = alone(request("Genesis 3\n\n", 9));
  submit(engine, request("Genesis 3\n\n", 9), next);
  next.wait();
  EXPECT_EQ(next.tokens(), expected);
  engine.cancel(first);  // has ended long before
}

TEST(Engine, TheQueueIsBounded) {
  EngineOptions opts = options();
  opts.max_num_seqs = 1;
  opts.max_waiting = 2;
  Engine engine(model(), bundled_tokenizer(), opts);
  std::vector<Answer> answers(4);
  std::vector<Engine::RequestId> ids;
  for (int i = 0; i < 3; ++i) {
    Request endless = request("Genesis 1\n\n", 900);
    endless.params.stop_token_ids.clear();
    ids.push_back(submit(engine, std::move(endless), answers[i]));
  }
  EXPECT_THROW(submit(engine, request("Genesis 1\n\n", 1), answers[3]), QueueFull);
  engine.cancel(ids[0]);
  answers[0].wait();
  // Its place is free after the engine's next step.
  answers[1].wait_for_text();
  submit(engine, request("Genesis 1\n\n", 1), answers[3]);
  for (const Engine::RequestId id : ids) engine.cancel(id);
  EXPECT_EQ(answers[3].wait().outcome, Outcome::kLength);
}

// Clients retry after QueueFull, so it would be wrong here.
TEST(Engine, MoreSequencesThanTheQueueHoldsAreAnErrorNotQueueFull) {
  EngineOptions opts = options();
  opts.max_num_seqs = 1;
  opts.max_waiting = 2;
  Engine engine(model(), bundled_tokenizer(), opts);
  std::vector<Engine::Submission> submissions;
  for (int i = 0; i < 4; ++i) submissions.push_back({request("Genesis 1\n\n", 1), [](const Progress&) {}});
  try {
    engine.submit(std::move(submissions));
    ADD_FAILURE() << "was accepted";
  } catch (const QueueFull&) {
    ADD_FAILURE() << "QueueFull";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("never holds more than 3"));
  }
}

// A mask that fails after some tokens.
class FailingMask : public TokenMask {
 public:
  void apply(std::span<float>) override {}
  void advance(std::uint32_t) override { ++tokens_; }
  void rollback(std::size_t tokens) override { tokens_ -= tokens; }
  std::string_view error() const override { return tokens_ > 5 ? "it is too much" : ""; }

 private:
  std::size_t tokens_ = 0;
};

TEST(Engine, AFailingMaskEndsOnlyItsOwnRequest) {
  Engine engine(model(), bundled_tokenizer(), options());
  Answer other;
  Answer masked;
  submit(engine, request("Genesis 1\n\n", 40), other);
  Request refused = request("Genesis 1\n\n", 40);
  refused.mask = std::make_unique<FailingMask>();
  submit(engine, std::move(refused), masked);
  EXPECT_EQ(masked.wait().outcome, Outcome::kRefused);
  EXPECT_EQ(masked.wait().error, "it is too much");
  EXPECT_EQ(masked.tokens().size(), 6U);  // all before, drafted or not
  EXPECT_NE(other.wait().outcome, Outcome::kRefused);
}

// With drafts, the token that ends the text and the place where none can follow may belong to one step.
TEST(Engine, AnOutputThatEndsBeforeItIsStuckIsNoError) {
  const std::uint32_t token = bundled_tokenizer().encode(" God", {.add_special_tokens = false}).front();
  const std::string word = bundled_tokenizer().decode(std::span(&token, 1), false);
  for (const std::size_t drafts : {0, 1, 3}) {
    EngineOptions with = options();
    with.speculative_config.num_speculative_tokens = drafts;
    Engine engine(model(), bundled_tokenizer(), with);
    const auto ask = [&](bool stops, Answer& answer) {
      Request stuck = request("a", 9);
      stuck.params.rules.allowed_token_ids = {token};
      stuck.params.rules.bad_words = {{token, token, token}};
      if (stops) stuck.text.stop = {word + word};
      submit(engine, std::move(stuck), answer);
      answer.wait();
    };
    Answer refused;
    ask(false, refused);
    EXPECT_EQ(refused.wait().outcome, Outcome::kRefused) << drafts;
    EXPECT_THAT(refused.wait().error, HasSubstr("number 3 of the output"));
    EXPECT_EQ(refused.text(), word + word) << drafts;
    Answer ended;
    ask(true, ended);
    EXPECT_EQ(ended.wait().outcome, Outcome::kStop) << drafts << ended.wait().error;
  }
}

TEST(Engine, StopsAtStopStringsAndStopTokens) {
  Engine engine(model(), bundled_tokenizer(), options());
  Answer whole;
  submit(engine, request("Exodus 21\n\n", 64), whole);
  whole.wait();
  Request stopping = request("Exodus 21\n\n", 64);
  stopping.text.stop = {"\n2"};
  Answer stopped;
  submit(engine, std::move(stopping), stopped);
  EXPECT_EQ(stopped.wait().outcome, Outcome::kStop);
  EXPECT_EQ(stopped.wait().stop_string, "\n2");
  EXPECT_EQ(stopped.text(), whole.text().substr(0, whole.text().find("\n2")));
  const Tokens tokens = stopped.tokens();
  EXPECT_LE(tokens.size(), whole.tokens().size());
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), whole.tokens().begin()));

  Request at_token = request("Exodus 21\n\n", 64);
  at_token.params.stop_token_ids = {whole.tokens()[9]};
  Answer token_stopped;
  submit(engine, std::move(at_token), token_stopped);
  EXPECT_EQ(token_stopped.wait().outcome, Outcome::kStop);
  EXPECT_FALSE(token_stopped.wait().stop_string);
  EXPECT_EQ(token_stopped.tokens().back(), whole.tokens()[9]);
  Tokens without_stop = token_stopped.tokens();
  without_stop.pop_back();
  EXPECT_EQ(token_stopped.text(), bundled_tokenizer().decode(without_stop, true));
}

TEST(Engine, DrainFinishesAcceptedRequestsAndRejectsNewOnes) {
  Engine engine(model(), bundled_tokenizer(), options());
  std::vector<Answer> answers(6);
  for (Answer& answer : answers) submit(engine, request("Genesis 5\n\n", 30), answer);
  EXPECT_EQ(engine.drain(std::chrono::minutes(2)), 0U);
  const Tokens expected = alone(request("Genesis 5\n\n", 30));
  for (Answer& answer : answers) EXPECT_EQ(answer.tokens(), expected);
  Answer late;
  EXPECT_THROW(submit(engine, request("Genesis 5\n\n", 30), late), ShuttingDown);
}

TEST(Engine, DrainCancelsRequestsAfterTheTimeout) {
  Engine engine(model(), bundled_tokenizer(), options());
  std::vector<Answer> answers(6);
  for (Answer& answer : answers) {
    Request endless = request("Genesis 5\n\n", 1000);
    endless.params.stop_token_ids.clear();
    submit(engine, std::move(endless), answer);
  }
  EXPECT_EQ(engine.drain(std::chrono::milliseconds(1)), 6U);
  for (Answer& answer : answers) EXPECT_EQ(answer.wait().outcome, Outcome::kCancelled);
}

TEST(Engine, RejectsRequestsThatCanNeverRun) {
  Engine engine(model(), bundled_tokenizer(), options());
  Answer answer;
  const auto because = [&](Request request) {
    try {
      submit(engine, std::move(request), answer);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(because(request("a", 1024)), HasSubstr("1024"));
  EXPECT_THAT(because(request("a", 0)), HasSubstr("max_tokens"));
  Request wrong = request("a", 1);
  wrong.prompt = {2048};
  EXPECT_THAT(because(std::move(wrong)), HasSubstr("2048"));
  wrong = request("a", 1);
  wrong.params.sampling.logit_bias = {{4000, 1}};
  EXPECT_THAT(because(std::move(wrong)), HasSubstr("4000"));
  wrong = request("a", 1);
  wrong.params.sampling.top_p = 0;
  EXPECT_THAT(because(std::move(wrong)), HasSubstr("top_p"));
  EngineOptions opts = options();
  opts.max_num_batched_tokens = 7;
  EXPECT_THROW(Engine(model(), bundled_tokenizer(), opts), Error);
}

class Recorder : public EngineObserver {
 public:
  void on_step(const StepReport& report) override {
    const std::lock_guard lock(mutex);
    total.processed_prompt_tokens += report.processed_prompt_tokens;
    most_deferred = std::max(most_deferred, report.deferred);
    EXPECT_LE(report.deferred, report.waiting);
    total.prompt_tokens += report.prompt_tokens;
    total.cached_tokens += report.cached_tokens;
    total.generation_tokens += report.generation_tokens;
    total.speculation += report.speculation;
    first_tokens += report.time_to_first_token.size();
    most_running = std::max(most_running, report.running);
    highest_usage = std::max(highest_usage, report.kv_usage);
    last = report;
  }
  void on_finished(const RequestReport& report) override {
    const std::lock_guard lock(mutex);
    finished.push_back(report);
  }

  std::mutex mutex;
  StepReport total;
  StepReport last;
  std::size_t first_tokens = 0;
  std::size_t most_running = 0;
  std::size_t most_deferred = 0;
  double highest_usage = 0;
  std::vector<RequestReport> finished;
};

TEST(Engine, TheObserverIsCalledBeforeTheSinks) {
  Recorder recorder;
  Engine engine(model(), bundled_tokenizer(), options(), &recorder);
  std::size_t prompt_tokens = 0;
  std::size_t generation_tokens = 0;
  SpeculationCounts counts;
  std::vector<Answer> answers(6);
  for (int i = 0; i < 6; ++i) {
    Request next = request(chapter(i), 16);
    prompt_tokens += next.prompt.size();
    submit(engine, std::move(next), answers[i]);
  }
  for (Answer& answer : answers) {
    counts += answer.wait().speculation;
    generation_tokens += answer.tokens().size();
  }
  const std::lock_guard lock(recorder.mutex);
  EXPECT_EQ(recorder.finished.size(), 6U);
  EXPECT_EQ(recorder.first_tokens, 6U);
  EXPECT_EQ(recorder.total.prompt_tokens, prompt_tokens);
  EXPECT_EQ(recorder.total.generation_tokens, generation_tokens);
  EXPECT_EQ(recorder.total.speculation.draft_tokens, counts.draft_tokens);
  EXPECT_EQ(recorder.total.speculation.accepted_tokens, counts.accepted_tokens);
  EXPECT_EQ(recorder.last.running, 0U);
  EXPECT_GT(recorder.most_running, 1U);
  EXPECT_LE(recorder.most_running, 4U);
  EXPECT_GT(recorder.highest_usage, 0);
  EXPECT_LT(recorder.highest_usage, 1);
  EXPECT_EQ(recorder.last.kv_usage, 0);
}

TEST(Engine, TokensAndTimesOfReportsAddUp) {
  Recorder recorder;
  Engine engine(model(), bundled_tokenizer(), options(), &recorder);
  std::string text;
  for (int i = 1; i <= 4; ++i) text += chapter(i);  // of several steps
  std::array<Answer, 8> answers;
  for (std::size_t i = 0; i < 6; ++i) submit(engine, request(text + chapter(static_cast<int>(i)), 16), answers[i]);
  const Engine::RequestId cancelled = submit(engine, request(text, 1), answers[6]);
  engine.cancel(cancelled);
  for (std::size_t i = 0; i < 7; ++i) answers[i].wait();
  submit(engine, request(text + chapter(5) + answers[5].text(), 8), answers[7]);  // its beginning is cached
  answers[7].wait();

  const std::lock_guard lock(recorder.mutex);
  EXPECT_GT(recorder.total.cached_tokens, 0U);
  EXPECT_EQ(recorder.total.processed_prompt_tokens, recorder.total.prompt_tokens - recorder.total.cached_tokens);
  EXPECT_GT(recorder.most_deferred, 0U);
  EXPECT_EQ(recorder.last.deferred, 0U);
  std::size_t cached = 0;
  ASSERT_EQ(recorder.finished.size(), 8U);
  for (const RequestReport& report : recorder.finished) {
    cached += report.cached_tokens;
    EXPECT_GE(report.queue_time, 0);
    if (report.outcome == Outcome::kCancelled) {
      EXPECT_EQ(report.queue_time, report.latency);
      EXPECT_FALSE(report.prefill_time || report.decode_time);
      continue;
    }
    ASSERT_TRUE(report.prefill_time && report.decode_time);
    EXPECT_GT(*report.prefill_time, 0);
    EXPECT_GT(*report.decode_time, 0);
    EXPECT_LE(report.queue_time + *report.prefill_time + *report.decode_time, report.latency);
    EXPECT_NEAR(report.time_per_output_token * static_cast<double>(report.generation_tokens - 1), *report.decode_time,
                1e-9);
    EXPECT_THAT(report.max_tokens, ::testing::AnyOf(16U, 8U));
  }
  EXPECT_EQ(cached, recorder.total.cached_tokens);
}

TEST(MemoryPlan, CountsTheDraftersState) {
  EngineOptions opts = options();
  const auto sequence = [&](const SpeculativeConfig& config) {
    opts.speculative_config = config;
    return plan_memory(model(), opts, 1024, kPlenty, kPlenty).sequence;
  };
  const std::uint64_t alone = model().sequence_bytes({1024, kMaxRollback});
  EXPECT_EQ(sequence({}), alone);
  // The block's cache, and the streams in its window.
  const ModelConfig& c = model().config();
  EXPECT_EQ(sequence({"mtp", 1}),
            alone + mtp_cache_bytes(model(), {1024, kMaxRollback}) +
                (c.sliding_window + kMaxSpeculativeTokens) * c.hc_mult * c.hidden_size * sizeof(float));
  EXPECT_EQ(sequence({"ngram", 1}), alone);
}

TEST(MemoryPlan, FitsOrReportsWhatWouldFit) {
  EngineOptions opts = options();
  const MemoryPlan whole = plan_memory(model(), opts, std::nullopt, kPlenty, kPlenty);
  EXPECT_EQ(whole.max_model_len, model().config().max_position_embeddings);
  EXPECT_EQ(whole.sequences, 4 * whole.sequence);
  const MemoryPlan half = plan_memory(model(), opts, std::nullopt, whole.total(), kPlenty);
  EXPECT_LT(half.max_model_len, whole.max_model_len);
  EXPECT_LE(half.total(), whole.total() / 2);
  try {
    plan_memory(model(), opts, whole.max_model_len, whole.total() - 1, whole.total() - 1);
    FAIL() << "it does not fit";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("--max-model-len " + std::to_string(whole.max_model_len / 2)));
  }
  EXPECT_THROW(plan_memory(model(), opts, 0, whole.total(), kPlenty), Error);
  EXPECT_THROW(plan_memory(model(), opts, whole.max_model_len + 1, whole.total(), kPlenty), Error);
  EXPECT_THROW(plan_memory(model(), opts, std::nullopt, 1000, 2000), Error);
}

TEST(MemoryPlan, SaysWhetherAnotherTryMaySucceed) {
  const std::uint64_t needed = plan_memory(model(), options(), 1024, kPlenty, kPlenty).total();
  EXPECT_THROW(plan_memory(model(), options(), 1024, needed - 1, needed), TemporaryError);
  try {
    plan_memory(model(), options(), 1024, needed - 1, needed - 1);
    FAIL() << "it never fits";
  } catch (const Error& e) {
    EXPECT_EQ(dynamic_cast<const TemporaryError*>(&e), nullptr);
  }
}

TEST(Engine, AShortPromptDoesNotWaitForLongOnes) {
  Engine engine(model(), bundled_tokenizer(), options());  // 4 sequences, of which prompts of many steps get 2
  std::string text;
  for (int i = 1; i <= 10; ++i) text += chapter(i);
  std::array<Answer, 6> long_ones;
  for (Answer& answer : long_ones) submit(engine, request(text, 1), answer);
  Answer short_one;
  submit(engine, request("Genesis 1", 1), short_one);
  EXPECT_EQ(short_one.wait().outcome, Outcome::kLength);
  EXPECT_EQ(std::ranges::count_if(long_ones, [](Answer& answer) { return answer.steps() != 0; }), 0);
  for (Answer& answer : long_ones) EXPECT_EQ(answer.wait().outcome, Outcome::kLength);
}

}  // namespace
}  // namespace outrider
