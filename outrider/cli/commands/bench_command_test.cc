// The program itself: a server and its benchmark.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::run;

const std::string kModel = std::string("'") + OUTRIDER_SOURCE_DIR + "/models/deepseek-v4-kjv'";
const std::string kBinary = std::string("'") + OUTRIDER_BINARY + "'";

// Runs a shell command line with $port set to that of a server.
ProcessResult with_server(const testing::TempDir& dir, const std::string& command) {
  const std::string log = "'" + (dir / "serve.log").string() + "'";
  return run(kBinary + " serve " + kModel + " --port 0 --served-model-name kjv >" + log + " 2>&1 & server=$!; " +
             "trap 'kill $server; wait $server' EXIT; for i in $(seq 600); do port=$(sed -n " +
             R"('s|.*Listening on http://127.0.0.1:\([0-9]*\).*|\1|p' )" + log +
             "); [ -n \"$port\" ] && break; sleep 0.1; done; " + command);
}

TEST(BenchServe, MeasuresTheServersAcceptance) {
  const testing::TempDir dir;
  const ProcessResult result =
      with_server(dir, kBinary + " bench serve --port $port --tokenizer " + kModel +
                           " --num-prompts 6 --random-input-len 24 --random-output-len 16 --max-concurrency 2 "
                           "--temperature 0 --save-result --save-detailed --metadata machine=test --result-dir '" +
                           dir.path().string() + "' --result-filename r.json");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("Speculative Decoding"));
  const auto json = nlohmann::json::parse(testing::read_file(dir / "r.json"));
  EXPECT_EQ(json["model_id"], "kjv");
  EXPECT_EQ(json["machine"], "test");
  EXPECT_EQ(json["request_rate"], "inf");
  EXPECT_EQ(json["max_concurrency"], 2);
  EXPECT_EQ(json["completed"], 6);
  EXPECT_EQ(json["total_input_tokens"], 6 * 24);
  EXPECT_EQ(json["total_output_tokens"], 6 * 16);
  // Every token but the first of each text, and none twice, comes of a round: its own, or a draft that stayed.
  const auto drafts = json["spec_decode_num_drafts"].get<int>();
  const auto accepted = json["spec_decode_accepted_tokens"].get<int>();
  EXPECT_GT(drafts, 0);
  EXPECT_GE(drafts + accepted, 6 * 15 - 6);
  EXPECT_LE(drafts + accepted, 6 * 15);
}

TEST(BenchServe, TakesDatasetsAndChatsWithoutATokenizer) {
  const testing::TempDir dir;
  testing::write_file(dir / "d.jsonl", "{\"prompt\": \"Genesis 1\", \"output_tokens\": 5}\n{\"prompt\": \"Exodus\"}\n");
  const std::string common = kBinary + " bench serve --port $port --model kjv --percentile-metrics ttft ";
  const std::string data = "'" + (dir / "d.jsonl").string() + "'";
  const ProcessResult result = with_server(
      dir, common + "--dataset-name custom --ignore-eos --num-prompts 4 --custom-output-len 4 --dataset-path " + data +
               " && " + common + "--num-prompts 2 --backend openai-chat --random-input-len 5 --random-output-len 3");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("Total generated tokens:                  16 "));
  EXPECT_THAT(result.output, HasSubstr("tokens of the server"));
  EXPECT_THAT(result.output, HasSubstr("Total generated tokens:                  6 "));
}

TEST(BenchServe, FailedRequestsAreToldAndGiveStatusOne) {
  const testing::TempDir dir;
  const ProcessResult result =
      with_server(dir, kBinary + " bench serve --port $port --model other --tokenizer " + kModel + " --num-prompts 2");
  EXPECT_EQ(result.exit_status, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("2 of 2 requests failed"));
  EXPECT_THAT(result.output, HasSubstr("is not served here"));
}

TEST(BenchServe, RefusesInASentence) {
  const auto refused = [](const std::string& arguments, const std::string& because) {
    const ProcessResult result = run(kBinary + " bench serve " + arguments);
    EXPECT_EQ(result.exit_status, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(because));
  };
  refused("--base-url https://example.org", "plain HTTP, not HTTPS");
  refused("--port 1", "no connection");
  refused("--port 1 --model x --percentile-metrics speed", "no metric");
  refused("--port 1 --model x --goodput ttft", "NAME:VALUE");
  refused("--port 1 --model x --dataset-name custom", "--dataset-path");
  refused("--port 1 --model x --header 'a b=c'", "header");
  refused("--port 1 --model x --extra-body '[]'", "JSON object");
  refused("--port 1 --model x --tokenizer /nonexistent", "/nonexistent");
}

TEST(BenchLatency, MeasuresAndWritesJson) {
  const testing::TempDir dir;
  const std::string out = (dir / "l.json").string();
  testing::write_file(dir / "t.txt",
                      "In the beginning God created the heaven and the earth. And the earth was without form.");
  const ProcessResult result = run(
      kBinary + " bench latency " + kModel + " --input-len 8 --output-len 8 --batch-size 1,2 " +
      "--num-iters 2 --num-iters-warmup 0 --text-file '" + (dir / "t.txt").string() + "' --output-json '" + out + "'");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  const auto json = nlohmann::json::parse(testing::read_file(out));
  ASSERT_EQ(json["results"].size(), 4U);
  EXPECT_EQ(json["results"][3]["batch_size"], 2);
  EXPECT_EQ(json["results"][3]["num_speculative_tokens"], 1);
  EXPECT_EQ(json["results"][3]["latencies"].size(), 2U);
  EXPECT_EQ(json["input_len"], 8);
  const ProcessResult too_long =
      run(kBinary + " bench latency " + kModel + " --input-len 800 --text-file '" + (dir / "t.txt").string() + "'");
  EXPECT_EQ(too_long.exit_status, 2);
  EXPECT_THAT(too_long.output, HasSubstr("longer text"));
}

}  // namespace
}  // namespace outrider
