// Tests of the program itself, on real files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/sanitized.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using synthetic::Family;
using ::testing::HasSubstr;
using testing::kSanitized;
using ::testing::Not;
using testing::ProcessResult;
using testing::TempDir;
using testing::write_file;

// Runs with 2 GiB of address space, so that allocating an untrusted size fails.
ProcessResult outrider(const std::string& arguments) {
  const std::string limit = kSanitized ? "" : "ulimit -v 2097152; ";
  return testing::run(limit + testing::kBinary + " " + arguments);
}

void write_sound(const std::filesystem::path& directory, Family family = Family::kOfficial) {
  synthetic::write_tiny_checkpoint(directory, {.family = family, .shards = 2});
}

TEST(CheckCommand, ReportsASoundArtifact) {
  TempDir dir;
  write_sound(dir.path());
  const ProcessResult text = outrider("check '" + dir.path().string() + "'");
  EXPECT_EQ(text.exit_status, 0) << text.output;
  EXPECT_THAT(text.output, HasSubstr("SOUND"));
  EXPECT_THAT(text.output, HasSubstr("OUT050 note"));
  EXPECT_THAT(text.output, Not(HasSubstr("\x1b")));
  const ProcessResult json = outrider("check --json --data '" + dir.path().string() + "'");
  EXPECT_EQ(json.exit_status, 0);
  const auto parsed = nlohmann::json::parse(json.output);
  EXPECT_TRUE(parsed["complete"]);
  EXPECT_GT(parsed["scan"]["bytes"], 1'000'000);
  const ProcessResult map = outrider("check --map '" + dir.path().string() + "'");
  EXPECT_THAT(
      map.output,
      HasSubstr("layers.0.attn.wq_a.weight\tmodel-00001-of-00002.safetensors\tlayers.0.attn.wq_a.weight\tFP8 block"));
  EXPECT_EQ(outrider("check '" + (dir / "model.safetensors.index.json").string() + "'").exit_status, 0);
}

TEST(CheckCommand, ExitsWithOneOnErrorsAndUnderStrictOnWarnings) {
  TempDir dir;
  write_sound(dir.path());
  std::filesystem::remove(dir / "model-00002-of-00002.safetensors");
  const ProcessResult missing = outrider("check '" + dir.path().string() + "'");
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_THAT(missing.output, HasSubstr("NOT COMPLETE"));
  EXPECT_THAT(missing.output, HasSubstr("OUT004"));
  TempDir warned;
  write_sound(warned.path(), Family::kW4A16);  // its compressor is quantized
  EXPECT_EQ(outrider("check '" + warned.path().string() + "'").exit_status, 0);
  EXPECT_EQ(outrider("check --strict '" + warned.path().string() + "'").exit_status, 1);
}

TEST(CheckCommand, ComparesValuesWithAReference) {
  TempDir source;
  TempDir copy;
  synthetic::write_tiny_checkpoint(source.path(), {.family = Family::kHuggingFace, .shards = 2});
  synthetic::write_tiny_checkpoint(copy.path(), {.family = Family::kHuggingFace, .shards = 3});
  const std::string compare =
      "check '" + copy.path().string() + "' --data --reference '" + source.path().string() + "'";
  const ProcessResult same = outrider(compare);
  EXPECT_EQ(same.exit_status, 0) << same.output;
  EXPECT_THAT(same.output, Not(HasSubstr("OUT08")));
  // Changes the last values of the last expert.
  const std::filesystem::path last = copy / "model-00003-of-00003.safetensors";
  std::string bytes = testing::read_file(last);
  std::memset(bytes.data() + bytes.size() - 64, 0x3c, 64);
  write_file(last, bytes);
  const ProcessResult changed = outrider(compare);
  EXPECT_EQ(changed.exit_status, 0) << changed.output;
  EXPECT_THAT(changed.output, HasSubstr("OUT082 warning"));
  EXPECT_THAT(changed.output, HasSubstr("relative error"));
}

TEST(CheckCommand, HelpAndWrongCommandLines) {
  EXPECT_EQ(outrider("--help").exit_status, 0);
  EXPECT_THAT(outrider("check --help").output, HasSubstr("Exit status"));
  EXPECT_EQ(outrider("--version").exit_status, 0);
  EXPECT_THAT(outrider("").output, HasSubstr("A command is missing. `outrider` has the commands check, repair"));
  EXPECT_EQ(outrider("").exit_status, 2);
  EXPECT_THAT(outrider("chekc").output, HasSubstr("\"chekc\" is not a command."));
  EXPECT_EQ(outrider("chekc").exit_status, 2);
  EXPECT_THAT(outrider("bench x").output, HasSubstr("`outrider bench` has the commands serve, latency"));
  EXPECT_EQ(outrider("check").exit_status, 2);
  EXPECT_EQ(outrider("check --nonsense x").exit_status, 2);
  EXPECT_EQ(outrider("check --json --map x").exit_status, 2);
}

// With --json, standard output is one JSON object even if the command fails.
TEST(CheckCommand, PrintsFailuresAsJson) {
  TempDir dir;
  write_sound(dir / "no-config");
  std::filesystem::remove(dir / "no-config" / "config.json");
  write_sound(dir / "no-tokenizer");
  write_file(dir / "notes.json", "{");
  for (const std::string& arguments :
       {std::string("/nonexistent"), "'" + dir.path().string() + "'", "'" + (dir / "no-config").string() + "'",
        "'" + (dir / "notes.json").string() + "'", "--probe '" + (dir / "no-tokenizer").string() + "'",
        std::string("--nonsense x"), std::string("--map x"), std::string()}) {
    const ProcessResult result = outrider("check --json " + arguments + " 2>/dev/null");
    EXPECT_EQ(result.exit_status, 2) << arguments;
    const auto parsed = nlohmann::json::parse(result.output, nullptr, false);
    ASSERT_TRUE(parsed.is_object()) << arguments << "\n" << result.output;
    EXPECT_EQ(parsed["exit_status"], 2);
    EXPECT_EQ(parsed["sound"], false);
    EXPECT_FALSE(parsed["error"].get<std::string>().empty());
  }
  const ProcessResult logits = outrider("logits --json --tokens 1 /nonexistent 2>/dev/null");
  EXPECT_EQ(logits.exit_status, 2);
  EXPECT_THAT(nlohmann::json::parse(logits.output)["error"], HasSubstr("no such file"));
}

TEST(CheckCommand, PrintsSarif) {
  TempDir dir;
  write_sound(dir / "a model");
  std::filesystem::remove(dir / "a model" / "model-00002-of-00002.safetensors");
  const ProcessResult result = outrider("check --sarif '" + (dir / "a model").string() + "'");
  EXPECT_EQ(result.exit_status, 1) << result.output;
  const auto sarif = nlohmann::json::parse(result.output);
  EXPECT_EQ(sarif["version"], "2.1.0");
  ASSERT_EQ(sarif["runs"].size(), 1U);
  const auto& run = sarif["runs"][0];
  const auto& rules = run["tool"]["driver"]["rules"];
  EXPECT_EQ(run["tool"]["driver"]["name"], "outrider");
  EXPECT_EQ(run["originalUriBaseIds"]["CHECKPOINT"]["uri"], "file://" + dir.path().string() + "/a%20model/");
  bool missing = false;
  ASSERT_FALSE(run["results"].empty());
  for (const auto& finding : run["results"]) {
    EXPECT_EQ(rules[finding["ruleIndex"].get<std::size_t>()]["id"], finding["ruleId"]);
    EXPECT_FALSE(finding["message"]["text"].get<std::string>().empty());
    ASSERT_FALSE(finding["locations"].empty());
    const auto& file = finding["locations"][0]["physicalLocation"]["artifactLocation"];
    EXPECT_EQ(file["uriBaseId"], "CHECKPOINT");
    if (finding["ruleId"] != "OUT004") continue;
    missing = true;
    EXPECT_EQ(finding["level"], "error");
    EXPECT_EQ(file["uri"], "model-00002-of-00002.safetensors");
  }
  EXPECT_TRUE(missing);
  const ProcessResult failed = outrider("check --sarif /nonexistent 2>/dev/null");
  EXPECT_EQ(failed.exit_status, 2);
  const auto invocation = nlohmann::json::parse(failed.output)["runs"][0]["invocations"][0];
  EXPECT_EQ(invocation["executionSuccessful"], false);
  EXPECT_THAT(invocation["toolExecutionNotifications"][0]["message"]["text"], HasSubstr("no such file"));
  EXPECT_EQ(outrider("check --sarif --json x").exit_status, 2);
}

// Expects a clear message, exit status 2 and bounded memory.
TEST(CheckCommand, HostileFiles) {
  const auto le64 = [](std::uint64_t v) {
    std::string out(8, '\0');
    std::memcpy(out.data(), &v, 8);
    return out;
  };
  const auto header = [&](const std::string& json) { return le64(json.size()) + json; };
  const std::vector<std::pair<std::string, std::string>> contents = {
      {"", "has 0 bytes"},
      {le64(std::uint64_t{1} << 63) + "{}", "announce a header of 9223372036854775808 bytes"},
      {le64(~std::uint64_t{0}), "header"},
      {le64(99'999'999) + "{", "truncated"},
      {header(std::string(1'000'000, '[')), "not a JSON object"},
      {header("{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}"), "not a JSON object"},
      {header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,99]}}"), "span 99 bytes"},
      {header("{\"a\":{\"dtype\":\"U8\",\"shape\":[99],\"data_offsets\":[0,99]}}"), "99 of"},
      {header("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}"), "whole numbers"},
      {header("{\"a\":{\"dtype\":\"F5\",\"shape\":[1],\"data_offsets\":[0,1]}}"), "\"F5\""},
      {header("{\"\xff\xfe\":1}"), "not UTF-8"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"},
      {"<!DOCTYPE html><html>", "web page"},
      {"\x7f"
       "ELF and more than eight bytes",
       "header"},
  };
  for (const auto& [content, sentence] : contents) {
    TempDir dir;
    write_sound(dir.path());
    write_file(dir / "model-00002-of-00002.safetensors", content);
    const ProcessResult result = outrider("check '" + dir.path().string() + "'");
    EXPECT_EQ(result.exit_status, 2) << content.substr(0, 60);
    // The report is wrapped: compare without its line breaks.
    std::string flat;
    for (const char c : result.output) flat += c == '\n' ? ' ' : c;
    for (std::size_t at = 0; (at = flat.find("  ", at)) != std::string::npos;) flat.erase(at, 1);
    EXPECT_THAT(flat, HasSubstr(sentence));
    // The file alone is not a checkpoint either.
    EXPECT_EQ(outrider("check '" + (dir / "model-00002-of-00002.safetensors").string() + "'").exit_status, 2);
  }
}

TEST(CheckCommand, HostileSizes) {
  TempDir dir;
  write_sound(dir.path());
  const std::filesystem::path shard = dir / "model-00002-of-00002.safetensors";
  {
    // A header of 99 MB that is one long array, and one of 10^6 tensors.
    std::ofstream out(shard, std::ios::binary);
    const std::uint64_t length = 99'000'000;
    out.write(reinterpret_cast<const char*>(&length), 8);
    out << "{\"a\":[" << std::string(length - 8, '1') << "]}";
  }
  EXPECT_EQ(outrider("check '" + dir.path().string() + "'").exit_status, 2);
  {
    std::string json = "{";
    for (int i = 0; i < 1'000'000; ++i) {
      json +=
          (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    }
    json += "}";
    std::ofstream out(shard, std::ios::binary);
    const std::uint64_t length = json.size();
    out.write(reinterpret_cast<const char*>(&length), 8);
    out << json;
  }
  // A valid file, though a strange one: unknown and missing tensors are both reported.
  EXPECT_EQ(outrider("check '" + dir.path().string() + "'").exit_status, 1);
  {
    // An index of 10^7 keys.
    std::ofstream out(dir / "model.safetensors.index.json", std::ios::binary);
    out << "{\"weight_map\":{";
    for (int i = 0; i < 10'000'000; ++i) out << (i == 0 ? "\"" : ",\"") << i << "\":\"m\"";
    out << "}}";
  }
  const ProcessResult index = outrider("check '" + dir.path().string() + "'");
  EXPECT_EQ(index.exit_status, 2);
  EXPECT_THAT(index.output, HasSubstr("over the"));
}

TEST(CheckCommand, HostileConfigIndexAndPaths) {
  const auto with = [](const std::string& file, const std::string& content, const std::string& sentence) {
    SCOPED_TRACE(content.substr(0, 60));
    TempDir dir;
    write_sound(dir.path());
    write_file(dir / file, content);
    const ProcessResult result = outrider("check '" + dir.path().string() + "'");
    EXPECT_EQ(result.exit_status, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(sentence));
    EXPECT_LT(result.output.size(), 2000U);
  };
  with("config.json", "", "config.json");
  with("config.json", "{", "not valid JSON");
  with("config.json", "[]", "not a JSON object");
  with("config.json", "\xff", "not valid JSON");
  with("config.json", std::string(1'000'000, '['), "nested deeper");
  with("config.json", R"({"hidden_size":1,"hidden_size":2})", "occurs twice");
  with("config.json", std::string(17 << 20, ' '), "over the");
  with("model.safetensors.index.json", "", "JSON of an index");
  with("model.safetensors.index.json", R"({"weight_map":{"a":""}})", "which is not a valid file name");
  with("model.safetensors.index.json", std::string(1'000'000, '{'), "JSON of an index");
  with("model.safetensors.index.json", "<html>", "web page");
  TempDir dir;
  EXPECT_EQ(outrider("check '" + (dir / "absent").string() + "'").exit_status, 2);
  EXPECT_EQ(outrider("check '" + dir.path().string() + "'").exit_status, 2);
  EXPECT_EQ(outrider("check /dev/null").exit_status, 2);
  write_sound(dir.path());
  write_file(dir / "model.safetensors.index.json", R"({"weight_map":{"a":"../../etc/passwd"}})");
  const ProcessResult outside = outrider("check '" + dir.path().string() + "'");
  EXPECT_EQ(outside.exit_status, 1);
  EXPECT_THAT(outside.output, HasSubstr("OUT004"));
  write_sound(dir.path());
  std::filesystem::remove(dir / "config.json");
  EXPECT_THAT(outrider("check '" + dir.path().string() + "'").output, HasSubstr("no config.json"));
  write_sound(dir.path());
  std::filesystem::remove(dir / "model-00001-of-00002.safetensors");
  ASSERT_EQ(mkfifo((dir / "model-00001-of-00002.safetensors").c_str(), 0600), 0);
  EXPECT_EQ(outrider("check '" + dir.path().string() + "'").exit_status, 2);
  std::filesystem::remove(dir / "model-00001-of-00002.safetensors");
  std::filesystem::create_directory(dir / "model-00001-of-00002.safetensors");
  EXPECT_EQ(outrider("check --data '" + dir.path().string() + "'").exit_status, 2);
  if (geteuid() != 0) {
    write_sound(dir / "unreadable");
    chmod((dir / "unreadable" / "model-00001-of-00002.safetensors").c_str(), 0);
    EXPECT_EQ(outrider("check '" + (dir / "unreadable").string() + "'").exit_status, 2);
  }
}

// Numbers in config.json that make the manifest huge, or whose shapes overflow.
TEST(CheckCommand, HostileNumbersInConfig) {
  for (const char* change :
       {R"({"num_hidden_layers":4096,"n_routed_experts":65536})", R"({"hidden_size":1e300})", R"({"hidden_size":-1})",
        R"({"num_hidden_layers":18446744073709551615})", R"({"o_groups":0})", R"({"hc_mult":1000000})",
        R"({"head_dim":"x"})", R"({"compress_ratios":"x"})", R"({"compress_ratios":[1e99]})",
        R"({"num_nextn_predict_layers":1000000000})", R"({"rope_scaling":7})", R"({"quantization_config":[]})",
        R"({"vocab_size":null})", R"({"scoring_func":{}})"}) {
    TempDir dir;
    write_sound(dir.path());
    nlohmann::json config = nlohmann::json::parse(testing::read_file(dir / "config.json"));
    config.update(nlohmann::json::parse(change));
    write_file(dir / "config.json", config.dump());
    const ProcessResult result = outrider("check '" + dir.path().string() + "'");
    EXPECT_EQ(result.exit_status, 1) << change << "\n" << result.output;
    EXPECT_TRUE(result.output.find("OUT020") != std::string::npos || result.output.find("OUT021") != std::string::npos)
        << change;
  }
}

}  // namespace
}  // namespace outrider
