// Tests of whole calls on the bundled model, without a network: from the JSON of a request to the response.

#include "outrider/server/generation_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <limits>
#include <mutex>
#include <numeric>
#include <sstream>

#include "outrider/prompt/python_json.h"
#include "outrider/server/api_error.h"
#include "outrider/server/chat_prompt.h"
#include "outrider/server/constraint.h"
#include "outrider/server/sampling_fields.h"
#include "outrider/testing/bundled_model.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using testing::bundled_tokenizer;
using ::testing::HasSubstr;

const Model& model() {
  static const auto one = testing::load_bundled_model();
  return *one;
}

RequestDefaults defaults() {
  RequestDefaults defaults;
  defaults.max_model_len = 1024;
  defaults.vocab_size = model().config().vocab_size;
  defaults.end_tokens = {*bundled_tokenizer().eos_id()};
  return defaults;
}

Engine& engine() {
  static Engine one(model(), bundled_tokenizer(), [] {
    EngineOptions options;
    options.max_model_len = 1024;
    options.speculative_config.num_speculative_tokens = 2;
    return options;
  }());
  return one;
}

class Collector : public HttpResponder {
 public:
  void send(HttpResponse response) override {
    const std::lock_guard lock(mutex_);
    response_ = std::move(response);
    done_ = true;
    changed_.notify_all();
  }
  void begin_stream(std::string) override {}
  void write(std::string piece) override {
    const std::lock_guard lock(mutex_);
    response_.body += piece;
  }
  void abort() noexcept override {}
  void end_stream() override {
    const std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  void post(std::function<void()> work) override {
    const std::lock_guard lock(strand_);
    work();
  }
  void run_aside(std::function<void()> work) override { work(); }
  void on_disconnect(std::function<void()> work) override { disconnected_ = std::move(work); }

  void leave() {
    const std::lock_guard lock(strand_);
    disconnected_();
  }
  HttpResponse wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
    return response_;
  }

 private:
  std::mutex strand_;
  std::mutex mutex_;
  std::condition_variable changed_;
  HttpResponse response_;
  bool done_ = false;
  std::function<void()> disconnected_;
};

// Allows only one output, then the end token.
class OneOutput : public TokenMask {
 public:
  explicit OneOutput(const std::string& text) {
    EncodeOptions options;
    options.add_special_tokens = false;
    tokens_ = bundled_tokenizer().encode(text, options);
    tokens_.push_back(*bundled_tokenizer().eos_id());
  }
  void apply(std::span<float> logits) override {
    const std::uint32_t next = tokens_[std::min(at_, tokens_.size() - 1)];
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (id != next) logits[id] = -std::numeric_limits<float>::infinity();
    }
  }
  void advance(std::uint32_t) override { ++at_; }
  void rollback(std::size_t tokens) override { at_ -= tokens; }

 private:
  std::vector<std::uint32_t> tokens_;
  std::size_t at_ = 0;
};

std::string answer(const std::string& body, const std::string& forced = {},
                   SpecDecodeMetrics metrics = SpecDecodeMetrics::kNone) {
  const ordered_json json = parse_python_json(body, "test");
  GenerationRequest request = json.contains("messages")
                                  ? read_chat_request(json, bundled_tokenizer(), defaults())
                                  : read_completion_request(Fields(json), bundled_tokenizer(), defaults());
  CallOptions options;
  options.model = "kjv";
  options.spec_decode_metrics = metrics;
  if (!forced.empty()) options.mask = [forced] { return std::make_unique<OneOutput>(forced); };
  const auto collector = std::make_shared<Collector>();
  start_generation_call(engine(), bundled_tokenizer(), std::move(request), std::move(options), collector);
  return collector->wait().body;
}

std::vector<ordered_json> events(const std::string& stream) {
  std::vector<ordered_json> out;
  std::istringstream lines(stream);
  std::string line;
  bool done = false;
  while (std::getline(lines, line)) {
    if (line.empty()) continue;
    EXPECT_FALSE(done);
    EXPECT_EQ(line.substr(0, 6), "data: ");
    done = line == "data: [DONE]";
    if (!done) out.push_back(ordered_json::parse(line.substr(6)));
  }
  EXPECT_TRUE(done);
  return out;
}

const std::string kCalls =
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" "
    "string=\"true\">Ur</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"time\">\n</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>";
const std::string kTools =
    R"("tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}])";

TEST(GenerationCall, SplitsAMessageIntoReasoningContentAndToolCalls) {
  const std::string body = R"({"messages":[{"role":"user","content":"How is it?"}],)" + kTools +
                           R"(,"chat_template_kwargs":{"thinking":true}})";
  const ordered_json choice = ordered_json::parse(answer(body, "Let us see.</think>So." + kCalls))["choices"][0];
  EXPECT_EQ(choice["message"]["reasoning_content"], "Let us see.");
  EXPECT_EQ(choice["message"]["content"], "So.");
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 2U);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "weather");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], R"({"city": "Ur"})");
  EXPECT_NE(choice["message"]["tool_calls"][0]["id"], choice["message"]["tool_calls"][1]["id"]);

  const std::string quiet =
      R"({"messages":[{"role":"user","content":"How is it?"}],"tool_choice":"none",)" + kTools + "}";
  const ordered_json plain = ordered_json::parse(answer(quiet, "So." + kCalls))["choices"][0];
  EXPECT_THAT(plain["message"]["content"].get<std::string>(), ::testing::StartsWith("So.\n\n<"));
  EXPECT_FALSE(plain["message"].contains("tool_calls"));
  EXPECT_EQ(plain["finish_reason"], "stop");
}

TEST(GenerationCall, AStreamAddsUpToTheSameMessage) {
  const std::string body = R"({"messages":[{"role":"user","content":"How is it?"}],"stream":true,)" + kTools +
                           R"(,"stream_options":{"include_usage":true},"reasoning_effort":"high"})";
  std::string reasoning;
  std::string content;
  std::vector<std::string> names;
  std::string reason;
  const std::vector<ordered_json> all = events(answer(body, "Let us see.</think>So." + kCalls));
  EXPECT_EQ(all[0]["choices"][0]["delta"]["role"], "assistant");
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    const ordered_json& choice = all[i]["choices"][0];
    const ordered_json& delta = choice["delta"];
    if (delta.contains("reasoning_content")) reasoning += delta["reasoning_content"].get<std::string>();
    if (delta.contains("content")) content += delta["content"].get<std::string>();
    if (delta.contains("tool_calls")) {
      for (const ordered_json& call : delta["tool_calls"]) {
        EXPECT_EQ(call["index"], names.size());
        names.push_back(call["function"]["name"]);
      }
    }
    if (!choice["finish_reason"].is_null()) reason = choice["finish_reason"];
  }
  EXPECT_EQ(reasoning, "Let us see.");
  EXPECT_EQ(content, "So.");
  EXPECT_EQ(names, (std::vector<std::string>{"weather", "time"}));
  EXPECT_EQ(reason, "tool_calls");
  EXPECT_TRUE(all.back()["choices"].empty());
  EXPECT_GT(all.back()["usage"]["completion_tokens"], 10);
}

TEST(GenerationCall, TellsTheAcceptanceOfDraftsIfAsked) {
  const std::string prompt = R"("prompt":"Genesis 1\n\n1 In the","max_tokens":24,"temperature":0,"return_tokens":true)";
  const ordered_json whole = ordered_json::parse(answer("{" + prompt + "}", {}, SpecDecodeMetrics::kDetailed));
  const ordered_json& told = whole["metrics"]["speculative_decoding"];
  const ordered_json& counts = whole["choices"][0]["speculation"];
  EXPECT_EQ(told["num_spec_tokens"], 2);
  EXPECT_EQ(told["num_spec_steps"], counts["num_drafts"]);
  EXPECT_EQ(told["num_draft_tokens"], counts["num_draft_tokens"]);
  EXPECT_EQ(told["num_accepted_draft_tokens"], counts["num_accepted_tokens"]);
  EXPECT_GT(told["num_spec_steps"], 0);
  const double rounds = told["num_spec_steps"];
  const double accepted = told["num_accepted_draft_tokens"];
  EXPECT_DOUBLE_EQ(told["mean_acceptance_length"], 1 + accepted / rounds);
  EXPECT_DOUBLE_EQ(told["draft_acceptance_rate"], accepted / told["num_draft_tokens"].get<double>());

  const std::vector<std::size_t> per_step = told["per_step_accepted"];
  const std::vector<std::size_t> drafted = told["per_step_drafted"];
  EXPECT_EQ(per_step.size(), told["num_spec_steps"]);
  EXPECT_EQ(drafted.size(), per_step.size());
  EXPECT_EQ(std::reduce(drafted.begin(), drafted.end()), told["num_draft_tokens"]);
  std::vector<std::size_t> histogram(3);
  for (const std::size_t each : per_step) ++histogram.at(each);
  EXPECT_EQ(told["acceptance_histogram"], histogram);

  // A summary lacks the rounds; a stream has it beside the usage.
  ordered_json summary = told;
  summary.erase("per_step_accepted");
  summary.erase("per_step_drafted");
  const std::vector<ordered_json> stream = events(answer(
      "{" + prompt + R"(,"stream":true,"stream_options":{"include_usage":true}})", {}, SpecDecodeMetrics::kSummary));
  EXPECT_EQ(stream.back()["metrics"]["speculative_decoding"], summary);
  EXPECT_FALSE(stream[0].contains("metrics"));

  const auto has_metrics = [&](const std::string& more, SpecDecodeMetrics metrics) {
    return ordered_json::parse(answer("{" + prompt + more + "}", {}, metrics)).contains("metrics");
  };
  EXPECT_FALSE(has_metrics("", SpecDecodeMetrics::kNone));
  EXPECT_FALSE(has_metrics(R"(,"n":2)", SpecDecodeMetrics::kSummary));
}

TEST(GenerationCall, EchoWithLogprobsIncludesThePrompt) {
  const ordered_json whole = ordered_json::parse(
      answer(R"({"prompt":"In the beginning","echo":true,"max_tokens":2,"logprobs":2,"temperature":0})"));
  const ordered_json& choice = whole["choices"][0];
  EXPECT_THAT(choice["text"].get<std::string>(), ::testing::StartsWith("In the beginning"));
  const ordered_json& logprobs = choice["logprobs"];
  const std::size_t prompt = whole["usage"]["prompt_tokens"];
  ASSERT_EQ(logprobs["tokens"].size(), prompt + 2);
  EXPECT_EQ(logprobs["token_logprobs"].size(), prompt + 2);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_LT(logprobs["token_logprobs"][1], 0);
  EXPECT_EQ(logprobs["text_offset"][0], 0);
  const ordered_json only = ordered_json::parse(
      answer(R"({"prompt":"In the beginning","echo":true,"max_tokens":0,"logprobs":2,"temperature":0})"));
  EXPECT_EQ(only["choices"][0]["text"], "In the beginning");
  EXPECT_EQ(only["choices"][0]["logprobs"]["tokens"].size(), prompt);
  EXPECT_EQ(only["usage"]["completion_tokens"], 0);
  for (std::size_t i = 1; i < prompt; ++i) {
    EXPECT_EQ(only["choices"][0]["logprobs"]["token_logprobs"][i], logprobs["token_logprobs"][i]);
  }
}

TEST(GenerationCall, SeveralPromptsHaveSeveralChoicesEach) {
  const ordered_json whole = ordered_json::parse(
      answer(R"({"prompt":["Genesis 1\n\n",[0,5,9]],"n":2,"max_tokens":5,"temperature":1,"seed":3})"));
  ASSERT_EQ(whole["choices"].size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(whole["choices"][i]["index"], i);
  EXPECT_NE(whole["choices"][0]["text"], whole["choices"][1]["text"]);
  const ordered_json again = ordered_json::parse(
      answer(R"({"prompt":["Genesis 1\n\n",[0,5,9]],"n":2,"max_tokens":5,"temperature":1,"seed":3})"));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(whole["choices"][i]["text"], again["choices"][i]["text"]);
}

TEST(GenerationCall, AClientThatLeavesEndsItsRequest) {
  const ordered_json json = ordered_json::parse(R"({"prompt":"Genesis 1","max_tokens":900,"ignore_eos":true})");
  std::promise<CallSummary> end;
  CallOptions options;
  options.model = "kjv";
  options.on_end = [&end](const CallSummary& summary) { end.set_value(summary); };
  const auto collector = std::make_shared<Collector>();
  start_generation_call(engine(), bundled_tokenizer(),
                        read_completion_request(Fields(json), bundled_tokenizer(), defaults()), std::move(options),
                        collector);
  collector->leave();
  const CallSummary summary = end.get_future().get();
  EXPECT_EQ(summary.status, 499U);
  EXPECT_LT(summary.completion_tokens, 900U);
}

TEST(GenerationRequest, RejectsInvalidFieldsByName) {
  const auto refused = [](const std::string& body) {
    try {
      const ordered_json json = parse_python_json(body, "test");
      if (json.contains("messages")) {
        read_chat_request(json, bundled_tokenizer(), defaults());
      } else {
        read_completion_request(Fields(json), bundled_tokenizer(), defaults());
      }
      Constraints(bundled_tokenizer()).read(Fields(json), json.contains("messages"), false);
    } catch (const ApiError& e) {
      return std::to_string(e.status()) + " " + e.what();
    }
    return std::string("accepted");
  };
  const auto completion = [&](const std::string& field) { return refused("{\"prompt\":\"a\"," + field + "}"); };
  const auto chat = [&](const std::string& field) {
    return refused(R"({"messages":[{"role":"user","content":"a"}],)" + field + "}");
  };
  EXPECT_EQ(completion("\"temperature\":0.5"), "accepted");
  EXPECT_THAT(refused("{}"), HasSubstr("422 prompt"));
  EXPECT_THAT(refused("{\"prompt\":[]}"), HasSubstr("422 prompt"));
  EXPECT_THAT(refused("{\"prompt\":[1,\"a\"]}"), HasSubstr("422"));
  EXPECT_THAT(refused("{\"prompt\":[[]]}"), HasSubstr("400 prompt has no tokens"));
  EXPECT_THAT(completion("\"temperature\":\"hot\""), HasSubstr("422 temperature"));
  EXPECT_THAT(completion("\"temperature\":-1"), HasSubstr("400 temperature"));
  EXPECT_THAT(completion("\"top_p\":0"), HasSubstr("400 top_p"));
  EXPECT_THAT(completion("\"n\":0"), HasSubstr("400 n "));
  EXPECT_THAT(completion("\"n\":1.5"), HasSubstr("422 n"));
  EXPECT_THAT(completion("\"n\":18446744073709551615"), HasSubstr("400 n "));
  EXPECT_THAT(completion("\"max_tokens\":0"), HasSubstr("400 max_tokens"));
  EXPECT_THAT(completion("\"max_tokens\":5000"), HasSubstr("400 The prompt has"));
  EXPECT_THAT(completion("\"logprobs\":21"), HasSubstr("400 logprobs"));
  EXPECT_THAT(completion("\"stop\":[\"\"]"), HasSubstr("400 stop"));
  EXPECT_THAT(completion("\"stop\":\"" + std::string(5000, 'x') + "\""), HasSubstr("400 stop"));
  EXPECT_THAT(completion("\"stop\":3"), HasSubstr("422 stop"));
  EXPECT_THAT(completion("\"logit_bias\":{\"x\":1}"), HasSubstr("422 logit_bias"));
  EXPECT_THAT(completion("\"logit_bias\":{\"5\":101}"), HasSubstr("400 logit_bias"));
  EXPECT_THAT(completion("\"stream_options\":{}"), HasSubstr("400 stream_options"));
  EXPECT_THAT(completion("\"suffix\":\"x\""), HasSubstr("400 suffix"));
  EXPECT_THAT(completion("\"best_of\":3"), HasSubstr("400 best_of"));
  EXPECT_THAT(refused("{\"messages\":[]}"), HasSubstr("400 messages"));
  EXPECT_THAT(refused("{\"messages\":\"hello\"}"), HasSubstr("422 messages"));
  EXPECT_THAT(refused("{\"messages\":[{\"role\":\"king\",\"content\":\"a\"}]}"), HasSubstr("Unknown role: king"));
  EXPECT_THAT(chat("\"top_logprobs\":2"), HasSubstr("400 top_logprobs"));
  EXPECT_THAT(chat("\"tools\":[{\"type\":\"function\"}]"), HasSubstr("422 tools"));
  EXPECT_THAT(chat("\"reasoning_effort\":\"enormous\""), HasSubstr("400 reasoning_effort"));
  EXPECT_EQ(chat("\"response_format\":{\"type\":\"text\"}"), "accepted");
  EXPECT_EQ(chat("\"response_format\":{\"type\":\"json_object\"}"), "accepted");
  EXPECT_THAT(chat("\"response_format\":{\"type\":\"xml\"}"), HasSubstr("400 response_format.type"));
  EXPECT_THAT(chat("\"response_format\":{\"type\":\"json_schema\"}"), HasSubstr("422 response_format.json_schema"));
  EXPECT_THAT(chat(R"("response_format":{"type":"json_schema","json_schema":{"schema":{"not":{}}}})"),
              HasSubstr("400 response_format.json_schema.schema: at #: \"not\""));
  EXPECT_THAT(chat("\"tool_choice\":\"required\""), HasSubstr("400 tool_choice"));
  EXPECT_THAT(chat("\"tool_choice\":\"sometimes\""), HasSubstr("400 tool_choice"));
}

TEST(GenerationRequest, PutsTheSchemaIntoThePrompt) {
  const ordered_json body = ordered_json::parse(
      R"({"messages":[{"role":"user","content":"a"}],
          "response_format":{"type":"json_schema","json_schema":{"schema":{"type":"null"}}}})");
  EXPECT_THAT(read_chat_prompt(Fields(body), {}).text, HasSubstr("schema to reply:\n{\"type\": \"null\"}"));
}

TEST(GenerationRequest, MapsReasoningEffort) {
  const auto prompt = [](const std::string& fields, EncodingRelease release = EncodingRelease::kPreview) {
    const std::string body = R"({"messages":[{"role":"user","content":"a"}])" + fields + "}";
    RequestDefaults defaults;
    defaults.encoding = release;
    const ordered_json json = parse_python_json(body, "test");
    return read_chat_prompt(Fields(json), defaults).text;
  };
  EXPECT_THAT(prompt(""), ::testing::EndsWith("</think>"));
  EXPECT_THAT(prompt(R"(,"chat_template_kwargs":{"thinking":true})"), ::testing::EndsWith("<think>"));
  EXPECT_THAT(prompt(R"(,"reasoning_effort":"medium")"), ::testing::EndsWith("<think>"));
  EXPECT_THAT(prompt(R"(,"reasoning_effort":"none")"), ::testing::EndsWith("</think>"));
  EXPECT_THAT(prompt(R"(,"reasoning_effort":"xhigh")"), HasSubstr("Absolute maximum"));
  EXPECT_THAT(prompt(R"(,"reasoning_effort":"max")", EncodingRelease::k0731), HasSubstr("Beyond maximum"));
  EXPECT_THAT(prompt(R"(,"reasoning_effort":"high","chat_template_kwargs":{"thinking":false})"),
              ::testing::EndsWith("</think>"));
}

TEST(GenerationRequest, FallsBackOnTheServersDefaults) {
  const auto prompt = [](const std::string& fields, const std::string& defaults) {
    const std::string body = R"({"messages":[{"role":"user","content":"a"}])" + fields + "}";
    RequestDefaults read;
    read.chat_template_kwargs = read_chat_template_kwargs(defaults, "test");
    const ordered_json json = parse_python_json(body, "test");
    return read_chat_prompt(Fields(json), read).text;
  };
  const std::string thinking = R"({"thinking":true,"reasoning_effort":"max"})";
  EXPECT_EQ(prompt("", thinking),
            prompt(R"(,"chat_template_kwargs":{"thinking":true,"reasoning_effort":"max"})", "{}"));
  EXPECT_EQ(prompt(R"(,"chat_template_kwargs":{"thinking":false})", thinking), prompt("", "{}"));
  EXPECT_EQ(prompt(R"(,"chat_template_kwargs":{"enable_thinking":false})", thinking), prompt("", "{}"));
  EXPECT_EQ(prompt(R"(,"reasoning_effort":"none")", thinking), prompt("", "{}"));
  EXPECT_EQ(prompt(R"(,"reasoning_effort":"high")", thinking), prompt(R"(,"reasoning_effort":"high")", "{}"));
  EXPECT_EQ(prompt(R"(,"reasoning_effort":"high")", R"({"thinking":false})"),
            prompt(R"(,"reasoning_effort":"high")", "{}"));
  EXPECT_THROW(read_chat_template_kwargs(R"({"thinking":"yes"})", "test"), Error);
  EXPECT_THROW(read_chat_template_kwargs("[]", "test"), Error);
}

TEST(OverrideSampling, AcceptsTheFieldsOfAGenerationConfig) {
  SamplingParams sampling;
  override_sampling(R"({"temperature":0.5,"top_k":-1,"min_p":0.1})", "test", sampling);
  EXPECT_EQ(sampling.temperature, 0.5);
  EXPECT_EQ(sampling.top_k, 0U);
  EXPECT_EQ(sampling.min_p, 0.1);
  EXPECT_THROW(override_sampling(R"({"max_new_tokens":5})", "test", sampling), Error);
  EXPECT_THROW(override_sampling(R"({"top_p":5})", "test", sampling), Error);
}

}  // namespace
}  // namespace outrider
