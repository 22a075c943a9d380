#include "outrider/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Ids = std::vector<TokenId>;

const std::filesystem::path kRoot = OUTRIDER_SOURCE_DIR;
const std::filesystem::path kDeepSeek = kRoot / "models" / "deepseek-v4-kjv";

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special_tokens) {
  StreamDecoder stream(tokenizer, skip_special_tokens);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  return text + stream.flush();
}

// A tokenizer with a token for each of the 256 bytes.
json byte_tokenizer() {
  json vocab = json::object();
  std::uint32_t id = 0;
  for (std::uint32_t c = 0; c < 324; ++c) {
    const bool printable = (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c != 0xad);
    if (!printable) continue;
    std::string token;
    if (c < 0x80) {
      token = static_cast<char>(c);
    } else {
      token = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    }
    vocab[token] = id++;
  }
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
}

std::string error_of(const json& tokenizer) {
  try {
    Tokenizer::parse(tokenizer.dump());
  } catch (const Error& e) {
    return e.what();
  }
  return "was accepted";
}

TEST(Tokenizer, EqualsTheTokenizersPackage) {
  const json golden = json::parse(testing::read_file(kRoot / "tests" / "golden" / "tokenizer_golden.json"));
  int texts = 0;
  for (const auto& [file, cases] : golden["tokenizers"].items()) {
    SCOPED_TRACE(file);
    const Tokenizer tokenizer = Tokenizer::parse(testing::read_file(kRoot / file), {}, file);
    EXPECT_EQ(tokenizer.vocab_size(), cases["vocab_size"].get<std::size_t>());
    for (const json& entry : cases["texts"]) {
      const std::string text = entry["text"];
      const Ids ids = tokenizer.encode(text);
      EXPECT_EQ(ids, entry["ids"].get<Ids>()) << text;
      EXPECT_EQ(tokenizer.decode(ids, false), entry.value("decoded", text));
      EXPECT_EQ(tokenizer.decode(ids, true), entry.value("decoded_without_special", text));
      EXPECT_EQ(streamed(tokenizer, ids, false), tokenizer.decode(ids, false));
      EXPECT_EQ(streamed(tokenizer, ids, true), tokenizer.decode(ids, true));
      ++texts;
    }
    for (const json& entry : cases["runs"]) {
      std::string text;
      for (int i = 0; i < entry["count"]; ++i) text += entry["unit"].get<std::string>();
      Ids expected;
      for (const json& run : entry["ids_and_lengths"]) expected.insert(expected.end(), run[1], run[0]);
      EXPECT_EQ(tokenizer.encode(text), expected) << entry["unit"];
    }
    for (const json& entry : cases["decodings"]) {
      const Ids ids = entry["ids"];
      EXPECT_EQ(tokenizer.decode(ids, false), entry["decoded"].get<std::string>());
      EXPECT_EQ(streamed(tokenizer, ids, false), entry["decoded"].get<std::string>());
    }
  }
  EXPECT_GE(texts, 150);
}

TEST(Tokenizer, OpensADirectory) {
  const Tokenizer tokenizer = Tokenizer::open(kDeepSeek);
  EXPECT_EQ(tokenizer.vocab_size(), 2048U);
  EXPECT_EQ(tokenizer.id_limit(), 2048U);
  EXPECT_EQ(tokenizer.bos_id(), 0U);
  EXPECT_EQ(tokenizer.eos_id(), 1U);
  EXPECT_EQ(tokenizer.pad_id(), 2U);
  EXPECT_EQ(tokenizer.token_to_id("<think>"), 2045U);
  EXPECT_EQ(tokenizer.id_to_token(2047), "｜DSML｜");
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(2048), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(2045));
  EXPECT_FALSE(tokenizer.is_special(100));
  EXPECT_FALSE(tokenizer.is_special(0xffffffff));
  EXPECT_THAT(tokenizer.encode(""), IsEmpty());
}

TEST(Tokenizer, SpecialTokensInATextCanBePlainText) {
  const Tokenizer tokenizer = Tokenizer::open(kDeepSeek);
  EXPECT_THAT(tokenizer.encode("<think></think>"), ElementsAre(2045, 2046));
  const Ids as_text =
      tokenizer.encode("<think></think>", {.add_special_tokens = true, .special_tokens_in_text = false});
  EXPECT_GT(as_text.size(), 2U);
  EXPECT_EQ(tokenizer.decode(as_text, true), "<think></think>");
}

TEST(Tokenizer, ConfigAddsBosAndEos) {
  json tokenizer = byte_tokenizer();
  tokenizer["added_tokens"] = {{{"id", 300}, {"content", "<s>"}, {"special", true}},
                               {{"id", 301}, {"content", "</s>"}, {"special", true}}};
  const json config = {{"bos_token", {{"content", "<s>"}}}, {"eos_token", "</s>"}, {"add_bos_token", true}};
  const Tokenizer read = Tokenizer::parse(tokenizer.dump(), config.dump());
  const TokenId a = read.token_to_id("a").value();
  EXPECT_THAT(read.encode("a"), ElementsAre(300, a));
  EXPECT_THAT(read.encode("a", {.add_special_tokens = false, .special_tokens_in_text = true}), ElementsAre(a));
  EXPECT_EQ(read.vocab_size(), 258U);
  EXPECT_EQ(read.id_limit(), 302U);
  EXPECT_EQ(read.decode(Ids{a, 260, 301}, false), "a</s>");
  EXPECT_EQ(read.pad_id(), std::nullopt);
  const json wrong = {{"bos_token", "<bos>"}};
  EXPECT_THROW(Tokenizer::parse(tokenizer.dump(), wrong.dump()), Error);
}

TEST(Tokenizer, InvalidUtf8IsReplaced) {
  const Tokenizer tokenizer = Tokenizer::open(kDeepSeek);
  // As Python's bytes.decode("utf-8", "replace"): one U+FFFD for each maximal subpart.
  const std::pair<const char*, const char*> cases[] = {
      {"a\xff\xfez", "a\ufffd\ufffdz"},
      {"\xe4\xb8", "\ufffd"},
      {"\xe4\xb8z", "\ufffdz"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf0\x9f\x98", "\ufffd"},
      {"\xf0\x80\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"\xc0\xaf\xc2", "\ufffd\ufffd\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
  };
  for (const auto& [in, out] : cases) EXPECT_EQ(tokenizer.decode(tokenizer.encode(in), false), out);
}

TEST(StreamDecoder, EmitsWholeCodePoints) {
  const Tokenizer tokenizer = Tokenizer::parse(byte_tokenizer().dump());
  const Ids ids = tokenizer.encode("é中😀!");
  ASSERT_EQ(ids.size(), 10U);
  StreamDecoder stream(tokenizer, false);
  std::vector<std::string> pieces;
  for (const TokenId id : ids) pieces.push_back(stream.push(id));
  EXPECT_THAT(pieces, ElementsAre("", "é", "", "", "中", "", "", "", "😀", "!"));
  EXPECT_EQ(stream.flush(), "");
  // An incomplete code point is U+FFFD once something else follows, or at the end.
  EXPECT_EQ(stream.push(ids[5]), "");
  EXPECT_EQ(stream.push(ids[6]), "");
  EXPECT_EQ(stream.push(ids[9]), "\ufffd!");
  EXPECT_EQ(stream.push(ids[2]), "");
  EXPECT_EQ(stream.flush(), "\ufffd");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Tokenizer, IsThreadSafe) {
  const Tokenizer tokenizer = Tokenizer::open(kDeepSeek);
  const std::string text = testing::read_file(kRoot / "README.md");
  const Ids expected = tokenizer.encode(text);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 3; ++round) EXPECT_EQ(tokenizer.encode(text), expected);
    });
  }
}

TEST(Tokenizer, LongRunsTakeLinearTime) {
  const Tokenizer tokenizer = Tokenizer::open(kDeepSeek);
  const auto begin = std::chrono::steady_clock::now();
  for (const char* unit : {"a", " ", "\n", "1", "!", "<", "é", " a"}) {
    std::string text;
    while (text.size() < (1 << 18)) text += unit;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), false), text);
  }
  // Quadratic time would take many minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST(Tokenizer, BlanksBeforeAnAddedTokenAreScannedOnce) {
  json file = byte_tokenizer();
  file["added_tokens"] = {{{"id", 300}, {"content", "  "}, {"lstrip", true}}};
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Tokenizer::parse(file.dump()).encode(std::string(400'000, ' ')).size(), 200'000U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(Tokenizer, LimitsTheSizeOfNormalizedTexts) {
  json file = byte_tokenizer();
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1 << 20, 'x')}};
  const std::string text(1 << 20, 'a');
  EXPECT_THROW(Tokenizer::parse(file.dump()).encode(text), Error);
  const json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::vector<json>(40, doubling)}};
  EXPECT_THROW(Tokenizer::parse(file.dump()).encode(text), Error);
  EXPECT_THROW(Tokenizer::parse(file.dump()).encode("a"), Error);
}

TEST(Tokenizer, IdsMayHaveGaps) {
  json file = byte_tokenizer();
  file["added_tokens"] = {{{"id", (1 << 24) - 1}, {"content", "far"}}};
  const Tokenizer tokenizer = Tokenizer::parse(file.dump());
  EXPECT_EQ(tokenizer.encode("far"), Ids{(1 << 24) - 1});
  EXPECT_EQ(tokenizer.bytes((1 << 24) - 1), "far");
  EXPECT_EQ(tokenizer.id_to_token(1000), std::nullopt);
  EXPECT_EQ(tokenizer.id_limit(), TokenId{1} << 24);
}

TEST(Tokenizer, HostileRegularExpressionsFail) {
  json tokenizer = byte_tokenizer();
  tokenizer["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "(?:a|aa)+[cd]"}}}, {"behavior", "Isolated"}},
        byte_tokenizer()["pre_tokenizer"]}}};
  const Tokenizer read = Tokenizer::parse(tokenizer.dump());
  EXPECT_THROW(read.encode(std::string(5000, 'a')), Error);
}

TEST(Tokenizer, ErrorsNameUnsupportedParts) {
  const auto with = [](const char* pointer, const json& value) {
    json tokenizer = byte_tokenizer();
    tokenizer[json::json_pointer(pointer)] = value;
    return error_of(tokenizer);
  };
  const json split = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Isolated"}, {"invert", false}};
  const auto with_split = [&](const char* pointer, const json& value) {
    json changed = split;
    changed[json::json_pointer(pointer)] = value;
    return with("/pre_tokenizer",
                {{"type", "Sequence"}, {"pretokenizers", {changed, byte_tokenizer()["pre_tokenizer"]}}});
  };
  EXPECT_EQ(error_of(byte_tokenizer()), "was accepted");
  EXPECT_EQ(with_split("/behavior", "Contiguous"), "was accepted");
  EXPECT_THAT(with("/model/type", "Unigram"), HasSubstr("a model of the type \"Unigram\""));
  EXPECT_THAT(with("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(with("/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(with("/normalizer", {{"type", "Lowercase"}}), HasSubstr("the normalizer \"Lowercase\""));
  EXPECT_THAT(with("/pre_tokenizer", {{"type", "Metaspace"}}), HasSubstr("the pre-tokenizer \"Metaspace\""));
  EXPECT_THAT(with("/pre_tokenizer", nullptr), HasSubstr("ByteLevel"));
  EXPECT_THAT(with("/pre_tokenizer", split), HasSubstr("ByteLevel"));
  EXPECT_THAT(with("/decoder", {{"type", "WordPiece"}}), HasSubstr("a decoder other than ByteLevel"));
  EXPECT_THAT(with("/post_processor", {{"type", "BertProcessing"}}), HasSubstr("BertProcessing"));
  EXPECT_THAT(with_split("/behavior", "Sideways"), HasSubstr("Sideways"));
  EXPECT_THAT(with_split("/pattern", {{"Glob", "*"}}), HasSubstr("neither"));
  EXPECT_THAT(with_split("/pattern/Regex", "a(?x)b"), HasSubstr("a group option other than i and m"));
  EXPECT_THAT(with_split("/pattern/Regex", "\\p{Klingon}"), HasSubstr("\\p{Klingon}"));
  EXPECT_THAT(with_split("/pattern/Regex", "(a"), HasSubstr("an unterminated group"));
  EXPECT_THAT(with_split("/pattern/Regex", std::string(100'000, 'a')), HasSubstr("100000 bytes"));
}

TEST(Tokenizer, RejectsBrokenFiles) {
  const auto with = [](const char* pointer, const json& value) {
    json tokenizer = byte_tokenizer();
    tokenizer[json::json_pointer(pointer)] = value;
    return error_of(tokenizer);
  };
  EXPECT_THROW(Tokenizer::parse(""), Error);
  EXPECT_THROW(Tokenizer::parse("{"), Error);
  EXPECT_THROW(Tokenizer::parse("[]"), Error);
  EXPECT_THROW(Tokenizer::parse(std::string(100'000, '[')), Error);
  EXPECT_THROW(Tokenizer::parse("{\"model\":\"\xff\"}"), Error);
  EXPECT_THAT(error_of(json::object()), HasSubstr("tokenizer.json: the field \"model\" is missing"));
  EXPECT_THAT(with("/model/vocab/a", 0), HasSubstr("two tokens have the id 0"));
  EXPECT_THAT(with("/model/vocab/a", -1), HasSubstr("\"a\" is not an integer"));
  EXPECT_THAT(with("/model/vocab/a", 16777216), HasSubstr("\"a\" is not an integer"));
  EXPECT_THAT(with("/model/merges", {"a b"}), HasSubstr("needs the token \"ab\""));
  EXPECT_THAT(with("/model/merges", json::array({json::array({"a", "b"})})), HasSubstr("needs the token \"ab\""));
  EXPECT_THAT(with("/model/merges", json::array({json::array({"quux", "b"})})), HasSubstr("needs the token \"quux\""));
  EXPECT_THAT(with("/model/merges", {"ab"}), HasSubstr("one space"));
  EXPECT_THAT(with("/model/merges", {"a b c"}), HasSubstr("one space"));
  EXPECT_THAT(with("/model/merges", json::array({json::array({"a", "b", "c"})})), HasSubstr("more than two"));
  EXPECT_THAT(with("/added_tokens", json::array({{{"id", 0}, {"content", "<s>"}}})), HasSubstr("two tokens"));
  EXPECT_THAT(with("/added_tokens", json::array({{{"id", 299}, {"content", "a"}}})), HasSubstr("has two ids"));
  EXPECT_THAT(with("/added_tokens", json::array({{{"id", 4294967295}, {"content", "<s>"}}})), HasSubstr("too large"));
  std::string twice = byte_tokenizer().dump();
  twice.replace(twice.find("\"b\":"), 4, "\"a\":");
  try {
    Tokenizer::parse(twice);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("\"a\" occurs twice"));
  }
  testing::TempDir empty;
  EXPECT_THROW(Tokenizer::open(empty.path()), Error);
}

}  // namespace
}  // namespace outrider
