#include "outrider/server/request_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The status and message of the refusal; empty if the object is accepted.
std::string checked(const std::string& json, FieldPlace place = FieldPlace::kChat) {
  const ordered_json object = ordered_json::parse(json);
  try {
    check_fields(Fields(object), place);
  } catch (const ApiError& e) {
    return fmt::format("{} {}: {}", e.status(), e.param(), e.what());
  }
  return {};
}

TEST(RequestFields, UnknownFieldsAreRefused) {
  EXPECT_THAT(checked(R"({"messages":[],"typo_temprature":0})"),
              AllOf(HasSubstr("400 typo_temprature: "), HasSubstr("Did you mean temperature?")));
  EXPECT_THAT(checked(R"({"max_tokesn":0})"), HasSubstr("Did you mean max_tokens?"));
  EXPECT_THAT(checked(R"({"zebra":0})"), AllOf(HasSubstr("400 zebra"), Not(HasSubstr("mean"))));
  EXPECT_THAT(checked(fmt::format(R"({{"{}":0}})", std::string(100'000, 'a'))), HasSubstr("400"));
  EXPECT_THAT(checked(R"({"\u001b[2J":0})"), Not(HasSubstr("\x1b")));
  // Each place has fields of its own.
  EXPECT_THAT(checked(R"({"messages":[]})", FieldPlace::kCompletion), HasSubstr("400 messages"));
  EXPECT_THAT(checked(R"({"temperature":0})", FieldPlace::kTokenize), HasSubstr("400 temperature"));
  EXPECT_THAT(checked(R"({"thinkng":true})", FieldPlace::kTemplateKwargs), HasSubstr("Did you mean thinking?"));
  EXPECT_THAT(checked(R"({"include_usge":true})", FieldPlace::kStreamOptions), HasSubstr("include_usage"));
}

TEST(RequestFields, AcceptWhatAsksForNothingElse) {
  for (const char* accepted :
       {R"({"zebra":null})", R"({"use_beam_search":false,"length_penalty":1.0,"n_probs":0})", R"({"functions":[]})",
        R"({"user":"a","store":true,"metadata":{"a":"b"}})", R"({"modalities":["text"],"chat_template":null})"}) {
    EXPECT_EQ(checked(accepted), "") << accepted;
  }
  EXPECT_EQ(checked(R"({"suffix":""})", FieldPlace::kCompletion), "");
  for (const char* refused :
       {R"({"use_beam_search":true})", R"({"length_penalty":1.5})", R"({"chat_template":""})", R"({"priority":-1})",
        R"({"modalities":["text","audio"]})", R"({"mirostat":2})", R"({"use_beam_search":0})"}) {
    EXPECT_THAT(checked(refused), HasSubstr("is not supported")) << refused;
  }
}

// "completions, chats": where a field may be.
std::string names_of(unsigned places) {
  constexpr std::pair<FieldPlace, const char*> kNames[] = {{FieldPlace::kCompletion, "completions"},
                                                           {FieldPlace::kChat, "chats"},
                                                           {FieldPlace::kTokenize, "`/tokenize`"},
                                                           {FieldPlace::kDetokenize, "`/detokenize`"},
                                                           {FieldPlace::kStreamOptions, "`stream_options`"},
                                                           {FieldPlace::kTemplateKwargs, "`chat_template_kwargs`"},
                                                           {FieldPlace::kMessage, "messages"},
                                                           {FieldPlace::kThinking, "`thinking`"}};
  std::vector<std::string> names;
  for (const auto& [place, name] : kNames) {
    if ((places & static_cast<unsigned>(place)) != 0) names.emplace_back(name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

TEST(RequestFields, AreAllInTheDocumentation) {
  const std::string page = testing::read_file(std::string(OUTRIDER_SOURCE_DIR) + "/docs/request-fields.md");
  std::size_t rows = 0;
  for (std::size_t at = page.find("\n| `"); at != std::string::npos; at = page.find("\n| `", at + 1)) ++rows;
  EXPECT_EQ(rows, request_fields().size());
  for (const RequestField& field : request_fields()) {
    std::string text(field.text);
    if (field.accepted.size() > 2) {
      text += fmt::format("; accepted: `{}`", field.accepted.substr(1, field.accepted.size() - 2));
    }
    EXPECT_THAT(page, HasSubstr(fmt::format("\n| `{}` | {} | {} |\n", field.name, names_of(field.places), text)));
    if (!field.accepted.empty()) {
      EXPECT_TRUE(ordered_json::parse(field.accepted).is_array()) << field.name;
    }
    EXPECT_EQ(field.treatment == FieldTreatment::kRefused, !field.accepted.empty()) << field.name;
    // A name stands for one thing in each place.
    for (const RequestField& other : request_fields()) {
      EXPECT_TRUE(&other == &field || other.name != field.name || (other.places & field.places) == 0) << field.name;
    }
  }
}

}  // namespace
}  // namespace outrider
