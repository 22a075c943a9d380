#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "outrider/prompt/completion_parser.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/prompt/python_json.h"
#include "outrider/testing/shared_data.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

struct Release {
  const char* name;
  const char* folder;
  EncodingRelease release;
};
constexpr Release kReleases[] = {{"preview", "official_preview", EncodingRelease::kPreview},
                                 {"0731", "official_0731", EncodingRelease::k0731}};

std::filesystem::path encoding_data() {
  return testing::shared_data() / "encoding";
}

ordered_json read(const std::filesystem::path& path) {
  return parse_python_json(testing::read_file(path), path.string());
}

ThinkingMode mode(const ordered_json& name) {
  return name == "thinking" ? ThinkingMode::kThinking : ThinkingMode::kChat;
}

TEST(EncodingVectors, OfficialInputsEncodeToTheOfficialOutputs) {
  OUTRIDER_NEEDS_SHARED_DATA();
  for (const Release& release : kReleases) {
    for (int i = 1; i <= 4; ++i) {
      const std::filesystem::path folder = encoding_data() / release.folder;
      const ordered_json input = read(folder / ("test_input_" + std::to_string(i) + ".json"));
      ordered_json messages = input.is_array() ? input : input["messages"];
      if (input.is_object() && input.contains("tools")) messages[0]["tools"] = input["tools"];
      MessageEncoding encoding;
      encoding.release = release.release;
      encoding.thinking_mode = i == 4 ? ThinkingMode::kChat : ThinkingMode::kThinking;
      EXPECT_EQ(encode_messages(messages, encoding),
                testing::read_file(folder / ("test_output_" + std::to_string(i) + ".txt")))
          << release.name << " " << i;
    }
  }
}

TEST(EncodingVectors, GeneratedMessagesEncodeToThePromptOrTheError) {
  OUTRIDER_NEEDS_SHARED_DATA();
  int count = 0;
  for (const ordered_json& vector : read(encoding_data() / "generated_encode_vectors.json")) {
    for (const Release& release : kReleases) {
      SCOPED_TRACE(vector["id"].get<std::string>() + " " + release.name);
      MessageEncoding encoding;
      encoding.release = release.release;
      for (const auto& [name, value] : vector["args"].items()) {
        if (name == "thinking_mode") {
          encoding.thinking_mode = mode(value);
        } else if (name == "add_default_bos_token") {
          encoding.add_default_bos_token = value;
        } else if (name == "drop_thinking") {
          encoding.drop_thinking = value;
        } else if (name == "reasoning_effort") {
          if (!value.is_null()) encoding.reasoning_effort = value;
        } else if (name == "context") {
          encoding.context = value;
        } else {
          ADD_FAILURE() << "unknown argument " << name;
        }
      }
      const ordered_json& expected = vector["expected"][release.name];
      ++count;
      if (expected.contains("prompt")) {
        EXPECT_EQ(encode_messages(vector["messages"], encoding), expected["prompt"].get<std::string>());
        continue;
      }
      // The official encoder's message, up to the chat message, which it prints in Python's syntax.
      std::string message = expected["message"];
      message = message.substr(0, message.find(": {"));
      try {
        encode_messages(vector["messages"], encoding);
        ADD_FAILURE() << "was accepted";
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr(message));
      }
    }
  }
  EXPECT_GE(count, 76);
}

TEST(EncodingVectors, GeneratedCompletionsParseToTheMessageOrTheError) {
  OUTRIDER_NEEDS_SHARED_DATA();
  int count = 0;
  for (const ordered_json& vector : read(encoding_data() / "generated_parse_vectors.json")) {
    for (const Release& release : kReleases) {
      SCOPED_TRACE(vector["id"].get<std::string>() + " " + release.name);
      const ordered_json& expected = vector["expected"][release.name];
      ++count;
      try {
        const Completion completion =
            parse_completion(vector["completion"].get<std::string>(), mode(vector["thinking_mode"]));
        EXPECT_TRUE(expected.contains("message"));
        if (expected.contains("message")) {
          EXPECT_EQ(to_message(completion).dump(1), expected["message"].dump(1));
        }
      } catch (const Error& e) {
        EXPECT_EQ(e.what(), expected.value("message_text", "a message"));
      }
    }
  }
  EXPECT_GE(count, 14);
}

// The prompts of vLLM's DeepSeek-V4 tokenizer mode, in the modes of the parity matrix.
TEST(EncodingVectors, EqualsVllmsPrompts) {
  OUTRIDER_NEEDS_SHARED_DATA();
  int count = 0;
  const ordered_json parity = read(encoding_data() / "tokenizer_parity" / "tokenizer_parity.json");
  for (const ordered_json& row : parity["rows"]) {
    const std::string name = row["mode"];
    if (name == "raw") continue;
    MessageEncoding encoding;
    if (name != "chat_chat") encoding.thinking_mode = ThinkingMode::kThinking;
    if (name == "chat_thinking_max") encoding.reasoning_effort = "max";
    const ordered_json messages = {{{"role", "user"}, {"content", row["prompt"]}}};
    EXPECT_EQ(encode_messages(messages, encoding), row["decoded_roundtrip"].get<std::string>());
    ++count;
  }
  EXPECT_GE(count, 36);
}

}  // namespace
}  // namespace outrider
