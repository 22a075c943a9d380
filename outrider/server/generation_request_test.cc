// Tests of how requests become prompts and parameters, without a model.

#include "outrider/server/generation_request.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/prompt/python_json.h"
#include "outrider/server/chat_prompt.h"
#include "outrider/testing/bundled_model.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using ::testing::AllOf;
using testing::bundled_tokenizer;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

RequestDefaults small_defaults() {
  RequestDefaults defaults;
  defaults.max_model_len = 100;
  defaults.vocab_size = 2048;
  defaults.end_tokens = {1};
  return defaults;
}

GenerationRequest completion(const std::string& fields, const std::string& prompt = R"("In the beginning")") {
  const ordered_json body =
      parse_python_json(R"({"prompt":)" + prompt + (fields.empty() ? "" : ",") + fields + "}", "");
  return read_completion_request(Fields(body), bundled_tokenizer(), small_defaults());
}

constexpr const char* kQuestion = R"({"role":"user","content":"Who?"})";

GenerationRequest chat(const std::string& fields, const std::string& messages = kQuestion) {
  const std::string body = R"({"messages":[)" + messages + "]" + (fields.empty() ? "" : ",") + fields + "}";
  return read_chat_request(parse_python_json(body, ""), bundled_tokenizer(), small_defaults());
}

std::string prompt_of(const std::string& fields, const std::string& messages) {
  const GenerationRequest request = chat(fields, messages);
  EXPECT_EQ(bundled_tokenizer().decode(request.prompts[0], false), request.prompt_texts[0]);
  return request.prompt_texts[0];
}

template <typename Read>
std::string refusal(const Read& read) {
  try {
    read();
  } catch (const ApiError& e) {
    return fmt::format("{} {}: {}", e.status(), e.param(), e.what());
  }
  return {};
}

std::string refused(const std::string& fields) {
  return refusal([&] { completion(fields); });
}
std::string refused_chat(const std::string& fields, const std::string& messages = kQuestion) {
  return refusal([&] { chat(fields, messages); });
}

TEST(RequestRules, AreRead) {
  const GenerationRequest request = completion(
      R"("min_tokens":3,"max_tokens":5,"stop_token_ids":[9],"ignore_eos":true,"allowed_token_ids":[7,9],
         "thinking_token_budget":4)");
  const OutputRules& rules = request.params.rules;
  EXPECT_EQ(rules.min_tokens, 3U);
  EXPECT_EQ(request.text.min_tokens, 3U);
  EXPECT_THAT(request.params.stop_token_ids, ElementsAre(9));
  EXPECT_THAT(rules.end_tokens, ElementsAre(9, 1));
  EXPECT_THAT(*rules.allowed_token_ids, ElementsAre(7, 9));
  EXPECT_EQ(rules.thinking_budget->end, *bundled_tokenizer().token_to_id("</think>"));
  EXPECT_EQ(rules.thinking_budget->tokens, 4U);
  EXPECT_FALSE(completion(R"("thinking_token_budget":-1,"min_tokens":0,"bad_words":[])").params.rules.any());
  // A word and its tokens within a text.
  const auto ids = [](const char* text) { return bundled_tokenizer().encode(text, {.add_special_tokens = false}); };
  EXPECT_THAT(completion(R"("bad_words":[" light","light"])").params.rules.bad_words,
              ElementsAre(ids("light"), ids(" light")));
}

TEST(RequestRules, OutOfRangeAreRefused) {
  EXPECT_THAT(refused(R"("allowed_token_ids":[])"), HasSubstr("400 allowed_token_ids: "));
  for (const char* field : {"allowed_token_ids", "stop_token_ids"}) {
    EXPECT_THAT(refused(fmt::format(R"("{}":[1,2048])", field)),
                HasSubstr(fmt::format("400 {0}: {0} has the token id 2048, which is out of range", field)));
    EXPECT_THAT(refused(fmt::format(R"("{}":[-1])", field)), HasSubstr("422"));
    EXPECT_THAT(refused(fmt::format(R"("{}":7)", field)), HasSubstr("422"));
  }
  EXPECT_THAT(refused(R"("logit_bias":{"2048":1})"), HasSubstr("400 logit_bias"));
  EXPECT_THAT(refusal([] { completion("", "[1,2048]"); }), HasSubstr("400 prompt: prompt has the token id 2048"));
  EXPECT_THAT(refused(R"("logprobs":1,"logprob_token_ids":[2048])"), HasSubstr("400 logprob_token_ids"));
  EXPECT_THAT(refused(R"("logprob_token_ids":[1])"), HasSubstr("requires logprobs"));
  EXPECT_THAT(refused(R"("min_tokens":6,"max_tokens":5)"), HasSubstr("400 min_tokens"));
  EXPECT_THAT(refused(R"("bad_words":[""])"), HasSubstr("400 bad_words"));
  EXPECT_THAT(refused(R"("bad_words":["  "])"), HasSubstr("400 bad_words"));
  EXPECT_THAT(refused(R"("bad_words":"the")"), HasSubstr("422 bad_words"));
  EXPECT_THAT(refused(R"("thinking_token_budget":-2)"), HasSubstr("400 thinking_token_budget"));
  EXPECT_THAT(refused(R"("thinking_token_budget":1.5)"), HasSubstr("422 thinking_token_budget"));
  EXPECT_THAT(refused(R"("prompt_logprobs":1,"stream":true)"), HasSubstr("400 prompt_logprobs"));
  EXPECT_THAT(refused(R"("prompt_logprobs":-1)"), HasSubstr("400 prompt_logprobs"));
  EXPECT_THAT(refused(R"("request_id":"a b")"), HasSubstr("400 request_id"));
  EXPECT_THAT(refused(R"("cache_salt":"")"), HasSubstr("400 cache_salt"));
}

TEST(RequestPrompt, IsTruncated) {
  const Ids all = completion("").prompts[0];
  ASSERT_GT(all.size(), 3U);
  EXPECT_EQ(completion(R"("truncate_prompt_tokens":2)").prompts[0], Ids(all.end() - 2, all.end()));
  EXPECT_EQ(completion(R"("truncate_prompt_tokens":2,"truncation_side":"right")").prompts[0],
            Ids(all.begin(), all.begin() + 2));
  EXPECT_EQ(completion(R"("truncate_prompt_tokens":100)").prompts[0], all);
  // The echo is of what remains.
  EXPECT_EQ(completion(R"("truncate_prompt_tokens":1,"echo":true)").prompt_texts[0],
            bundled_tokenizer().decode(std::span(all).last(1), true));
  const std::string longer = "\"" + std::string(2000, 'a') + "\"";
  const std::string text = R"("truncate_prompt_tokens":-1,"max_tokens":30)";
  EXPECT_EQ(completion(text, longer).prompts[0].size(), 70U);
  EXPECT_EQ(completion(text, "[5,6,7,8]").prompts[0], Ids({5, 6, 7, 8}));
  EXPECT_EQ(chat(R"("truncate_prompt_tokens":-1)", R"({"role":"user","content":)" + longer + "}").params.max_tokens,
            1U);
  EXPECT_THAT(refused(R"("truncate_prompt_tokens":101)"), HasSubstr("400 truncate_prompt_tokens"));
  EXPECT_THAT(refused(R"("truncate_prompt_tokens":0)"), HasSubstr("400 truncate_prompt_tokens"));
  EXPECT_THAT(refused(R"("truncation_side":"middle")"), HasSubstr("400 truncation_side"));
}

TEST(RequestPrompt, AChatThatCannotFitIsRefusedBeforeItIsEncoded) {
  const std::string text(std::size_t{1} << 20, 'a');
  EXPECT_THAT(refused_chat("", R"({"role":"user","content":")" + text + "\"}"), HasSubstr("at least"));
}

TEST(RequestPrompt, TheLastMessageIsContinued) {
  const std::string question = kQuestion;
  const std::string answer = R"(,{"role":"assistant","content":"It is","reasoning_content":"Let me"})";
  const std::string thought = R"(,{"role":"assistant","content":"","reasoning_content":"Let me"})";
  const std::string go_on = R"("continue_final_message":true,"add_generation_prompt":false)";
  const std::string thinking = R"(,"chat_template_kwargs":{"thinking":true})";
  EXPECT_THAT(prompt_of(go_on, question + answer), EndsWith("Who?<｜Assistant｜></think>It is"));
  EXPECT_EQ(prompt_of(R"("continue_final_message":true)", question + answer), prompt_of(go_on, question + answer));
  EXPECT_EQ(prompt_of("", question + R"(,{"role":"assistant","content":"It is","prefix":true})"),
            prompt_of(go_on, question + answer));
  EXPECT_THAT(prompt_of(go_on + thinking, question + answer), EndsWith("<think>Let me</think>It is"));
  EXPECT_EQ(chat(go_on + thinking, question + answer).thinking_mode, ThinkingMode::kChat);
  EXPECT_THAT(prompt_of(go_on + thinking, question + thought), EndsWith("<think>Let me"));
  EXPECT_EQ(chat(go_on + thinking, question + thought).thinking_mode, ThinkingMode::kThinking);
  EXPECT_THAT(prompt_of("", question + answer), EndsWith("It is<｜end▁of▁sentence｜>"));
  // vLLM's name of the reasoning.
  EXPECT_THAT(prompt_of(go_on + thinking, question + R"(,{"role":"assistant","reasoning":"So"})"),
              EndsWith("<think>So"));
  EXPECT_THAT(refused_chat(R"("continue_final_message":true,"add_generation_prompt":true)", question + answer),
              HasSubstr("400 continue_final_message"));
  EXPECT_THAT(prompt_of(go_on, question), EndsWith("<｜User｜>Who?"));
  EXPECT_THAT(refused_chat("", R"({"role":"user","content":"Who?","prefix":true})"), HasSubstr("400 messages"));
  EXPECT_THAT(refused_chat(go_on, question + R"(,{"role":"assistant","tool_calls":[{"type":"function",
                                                  "function":{"name":"a","arguments":"{}"}}]})"),
              HasSubstr("400 continue_final_message"));
}

TEST(RequestPrompt, TheGenerationPromptMayBeLeftOut) {
  const GenerationRequest request = chat(R"("add_generation_prompt":false,"echo":true)");
  EXPECT_THAT(request.prompt_texts[0], EndsWith("<｜User｜>Who?"));
  EXPECT_EQ(request.role, "user");
  EXPECT_EQ(request.echoed_text, "Who?");
  const GenerationRequest usual = chat(R"("echo":true)");
  EXPECT_EQ(usual.role, "assistant");
  EXPECT_EQ(usual.echoed_text, "");
  EXPECT_EQ(chat(R"("add_special_tokens":false)").prompts, usual.prompts);
}

TEST(RequestPrompt, DeepSeeksThinkingFieldIsObeyed) {
  EXPECT_THAT(prompt_of(R"("thinking":{"type":"enabled"})", kQuestion), EndsWith("<think>"));
  EXPECT_THAT(prompt_of(R"("thinking":{"type":"disabled"},"reasoning_effort":"high")", kQuestion),
              EndsWith("</think>"));
  EXPECT_THAT(refused_chat(R"("thinking":{"type":"some"})"), HasSubstr("400 thinking.type"));
  EXPECT_THAT(refused_chat(R"("thinking":{"type":"enabled","budget_tokens":5})"),
              HasSubstr("400 thinking.budget_tokens"));
  EXPECT_THAT(refused_chat(R"("thinking":true)"), HasSubstr("422 thinking"));
}

TEST(RequestPrompt, MessagesAreText) {
  for (const char* type : {"image_url", "input_audio", "video_url", "file", "refusal"}) {
    EXPECT_THAT(refused_chat("", fmt::format(R"({{"role":"user","content":[{{"type":"{0}","{0}":{{}}}}]}})", type)),
                AllOf(HasSubstr("400 messages[0].content: "), HasSubstr(type)));
  }
  EXPECT_THAT(prompt_of("", R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})"),
              HasSubstr("<｜User｜>a\n\nb<｜Assistant｜>"));
  EXPECT_THAT(refused_chat("", R"({"role":"user","content":[{"type":"text"}]})"), HasSubstr("422 messages[0].content"));
  EXPECT_THAT(refused_chat("", R"({"role":"user","contents":"a"})"),
              AllOf(HasSubstr("400 messages[0].contents"), HasSubstr("content?")));
  EXPECT_THAT(refused_chat("", R"("a")"), HasSubstr("422 messages"));
  EXPECT_EQ(refused_chat("", R"({"role":"user","content":"a","name":"Ur"})"), "");
}

}  // namespace
}  // namespace outrider
