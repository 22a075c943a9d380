// Tests command lines of `vllm serve` on the program itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kBinary;
using testing::kModel;
using ::testing::Not;
using testing::ProcessResult;
using testing::run;

// Starts a server and stops it once it listens. The exit status is 0 if it did, 2 if it refused to start.
ProcessResult serve(const std::string& words) {
  const testing::TempDir dir;
  const std::string log = "'" + (dir / "log").string() + "'";
  return run(kBinary + " serve --port 0 " + words + " >" + log + " 2>&1 & server=$!; for i in $(seq 600); do " +
             "grep -q Listening " + log + " && break; kill -0 $server 2>/dev/null || break; sleep 0.05; done; " +
             "kill $server 2>/dev/null; wait $server; status=$?; cat " + log + "; exit $status");
}

void expect_starts(const std::string& words, const std::string& log) {
  const ProcessResult result = serve(words);
  EXPECT_EQ(result.exit_status, 0) << words << "\n" << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("Listening"), HasSubstr(log))) << words;
}

void expect_refuses(const std::string& words, const std::string& because) {
  const ProcessResult result = serve(words);
  EXPECT_EQ(result.exit_status, 2) << words << "\n" << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr(because), Not(HasSubstr("Listening")))) << words;
}

// The flags in rows of the table whose effect is `effect`, except rows for particular values.
std::set<std::string> flags(const std::string& effect) {
  std::istringstream table(run(kBinary + " vllm-flags").output);
  const std::regex name("`(--[a-z0-9-]+)`");
  std::set<std::string> found;
  for (std::string line; std::getline(table, line);) {
    const std::string names = line.substr(0, line.find(" | "));
    if (line.find(" | " + effect + " | ") == std::string::npos) continue;
    if (names.find(": ") != std::string::npos || names.find(" (o") != std::string::npos) continue;
    for (auto i = std::sregex_iterator(names.begin(), names.end(), name); i != std::sregex_iterator(); ++i) {
      found.insert((*i)[1]);
    }
  }
  return found;
}

TEST(Serve, StartsAsPublished) {
  const std::string words = kModel +
                            " --trust-remote-code --kv-cache-dtype fp8 --block-size 256 --enable-expert-parallel "
                            "--data-parallel-size 4 --compilation-config "
                            R"('{"cudagraph_mode":"FULL_AND_PIECEWISE", "custom_ops":["all"]}' )"
                            "--attention_config.use_fp4_indexer_cache=True --moe-backend deep_gemm_mega_moe "
                            "--tokenizer-mode deepseek_v4 --tool-call-parser deepseek_v4 --enable-auto-tool-choice "
                            "--reasoning-parser deepseek_v4 --max-model-len auto --no-disable-hybrid-kv-cache-manager "
                            "--speculative-config "
                            R"('{"method":"mtp","num_speculative_tokens":2,"draft_sample_method":"probabilistic"}')";
  const ProcessResult result = serve(words);
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("num_speculative_tokens=2"));
  for (const char* told :
       {"INFO --trust-remote-code matches", "INFO --kv-cache-dtype fp8 matches",
        "WARNING --block-size 256 has no effect", "WARNING --enable-expert-parallel has",
        "WARNING --data-parallel-size 4 has", "WARNING --compilation-config has", "WARNING --attention-config has",
        "WARNING --moe-backend deep_gemm_mega_moe has", "INFO --tokenizer-mode deepseek_v4 matches",
        "INFO --tool-call-parser deepseek_v4 matches", "INFO --enable-auto-tool-choice matches",
        "INFO --reasoning-parser deepseek_v4 matches", "WARNING --no-disable-hybrid-kv-cache-manager has"}) {
    EXPECT_THAT(result.output, HasSubstr(told));
  }
}

TEST(Serve, AcceptsEverySpelling) {
  expect_starts("--model " + kModel + " --served-model-name a b", "served_model_name=\"a\"");
  expect_starts("-tp 8 -dp=2 " + kModel, "--data-parallel-size 2 has no effect");
  expect_starts(kModel + " --tensor-parallel 8", "--tensor-parallel-size 8 has no effect");
  expect_starts(kModel + " -O3 -cc.mode=3 -cc.pass_config.x true", "--optimization-level 3 has no effect");
  expect_starts(kModel + " --enable-chunked-prefill=False", "--no-enable-chunked-prefill has no effect");
  expect_starts(kModel + " --cudagraph-capture-sizes 1 2 4 --hf-token secret", "--hf-token has no effect");
  for (const char* speculation :
       {"--speculative_config.method mtp --speculative-config.num_speculative_tokens=3",
        R"(-sc '{"method":"deepseek_mtp","num_speculative_tokens":3}')",
        R"(--speculative-config '{"method":"mtp","num_speculative_tokens":1}' -sc.num_speculative_tokens 3)",
        R"(-sc.num_speculative_tokens 3 --speculative-config '{"method":"mtp","num_speculative_tokens":1}')",
        "--spec-method mtp --spec-tokens 3"}) {
    expect_starts(kModel + " " + speculation, "num_speculative_tokens=3");
  }
  expect_starts(kModel + R"( -sc '{"method":"ngram","num_speculative_tokens":5,"prompt_lookup_max":4}')",
                "num_speculative_tokens=5");
  expect_starts(kModel + R"( --speculative-config '{"method":"mtp","attention_backend":"X"}')",
                "\"attention_backend\" has no effect");
}

TEST(Serve, ReadsCountsAsVllmDoes) {
  expect_starts(kModel + " --max_model_len 4k", "max_model_len=4000");
  expect_starts(kModel + " --max-model-len 4K --max-num-batched-tokens=1.5k", "max_model_len=4096");
  expect_starts(kModel + " --max-model-len 25.6k", "max_model_len=25600");
  expect_starts(kModel + " --max-model-len auto", "max_model_len=");
  expect_starts(kModel + " --max-model-len -1", "max_model_len=");
  expect_starts(kModel + " --max-num-seqs 600 --max-model-len 1k", "max_num_seqs=600");
  expect_starts(kModel + " --max-num-seqs 64 --max-num-batched-tokens 64 --max-model-len 1k", "raised to 320");
  for (const char* none : {"4.5K", "0", "many", "-2", "9999999T", "''", "1e3k", "4 k"}) {
    expect_refuses(kModel + " --max-model-len " + none,
                   none[0] == '4' && none[1] == ' ' ? "not accept" : "--max-model-len: ");
  }
  expect_refuses(kModel + " --max-num-seqs 5000", "1 to 4096");
}

TEST(Serve, RefusesFlagsThatWouldChangeOutputsOrAccess) {
  const ProcessResult result = serve(kModel + R"( --ssl-keyfile key --lora-modules a=b c=d --hf-overrides '{"a":1}')");
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.output, ::testing::MatchesRegex("outrider: --ssl-keyfile key is refused: [^\n]*\n"
                                                     "outrider: --lora-modules a=b c=d is refused: [^\n]*\n"
                                                     "outrider: --hf-overrides is refused: [^\n]*\n"));
  expect_refuses(kModel + " --kv-cache-dtype bfloat16", "--kv-cache-dtype bfloat16 is refused");
  expect_refuses(kModel + " --tool-call-parser hermes", "--tool-call-parser hermes is refused");
  expect_refuses(kModel + " --quantization awq", "config.json describes \"fp8\"");
  expect_starts(kModel + " --quantization fp8 --tokenizer " + kModel, "Listening");
  expect_refuses(kModel + " --tokenizer elsewhere", "--tokenizer elsewhere is refused");
  expect_refuses(kModel + R"( -sc '{"method":"dspark","num_speculative_tokens":5}')",
                 "requires a DSpark drafter, but the checkpoint has an MTP block");
  expect_refuses(kModel + " --default-chat-template-kwargs.thinking 3", "--default-chat-template-kwargs");
  expect_refuses(kModel + " --generation-config /nowhere", "--generation-config");
}

TEST(Serve, ReportsUnknownArgumentsInOrder) {
  expect_refuses(kModel + " --foo 8 bar --baz", "`outrider serve` does not accept --foo 8 bar --baz.");
  expect_refuses(kModel + " --tensor-parallel-size", "--tensor-parallel-size: its value is missing");
  expect_refuses(kModel + " --enable-l", "--enable-l could be --enable-layerwise-nvtx-tracing, --enable-log-deltas");
  expect_refuses(kModel + " --enforce-eager=maybe", "neither true nor false");
}

TEST(Serve, EveryFlagOfTheTableStartsOrIsRefused) {
  std::string words = kModel;
  const std::set<std::string> none = flags("no effect");
  ASSERT_GT(none.size(), 150U);
  for (const std::string& flag : none) words += " " + flag + "=true";
  const ProcessResult started = serve(words);
  EXPECT_EQ(started.exit_status, 0) << started.output;
  for (const std::string& flag : none) EXPECT_THAT(started.output, HasSubstr(" " + flag + " ")) << flag;

  words = kModel;
  const std::set<std::string> refused = flags("refused");
  ASSERT_GT(refused.size(), 30U);
  for (const std::string& flag : refused) words += " " + flag + "=true";
  const ProcessResult result = serve(words);
  EXPECT_EQ(result.exit_status, 2) << result.output;
  for (const std::string& flag : refused) EXPECT_THAT(result.output, HasSubstr(" " + flag + " ")) << flag;
}

TEST(Serve, TheDocumentationHasTheTable) {
  EXPECT_THAT(testing::read_file(std::string(OUTRIDER_SOURCE_DIR) + "/docs/vllm-flags.md"),
              HasSubstr(run(kBinary + " vllm-flags").output));
}

TEST(Generate, AcceptsSpeculationFlagsAsServeDoes) {
  const std::string generate = kBinary + " generate " + kModel + " -n 4 ";
  const ProcessResult plain = run(generate + "-p 'Genesis 1' 2>/dev/null");
  for (const char* speculation :
       {"--speculative_config.method mtp --speculative-config.num_speculative_tokens 2",
        R"(-sc '{"method":"mtp","draft_sample_method":"greedy","num_speculative_tokens":2}')"}) {
    EXPECT_EQ(run(generate + "-p 'Genesis 1' 2>/dev/null " + speculation).output, plain.output);
  }
  EXPECT_THAT(run(generate + R"(-p a -sc '{"method":"dspark"}')").output, HasSubstr("has an MTP block"));
  // A value is not mistaken for an option.
  const ProcessResult like_a_flag = run(generate + "-p '--a_b.c=4'");
  EXPECT_EQ(like_a_flag.exit_status, 0) << like_a_flag.output;
}

TEST(Serve, LetsNobodyInByAnOversight) {
  expect_refuses(kModel + " --host 0.0.0.0", "--host 0.0.0.0 lets other machines in");
  expect_refuses(kModel + " --api-key ''", "--api-key is empty");
  expect_starts(kModel + " --host 0.0.0.0 --insecure", "Listening");
  expect_starts(kModel + " --host 0.0.0.0 --api-key secret", "Listening");
  expect_starts(kModel + " --host localhost", "Listening");
}

TEST(Serve, TellsWhetherAnotherTryMaySucceed) {
  const ProcessResult result =
      run("python3 -c 'import socket, subprocess, sys\n"
          "taken = socket.create_server((\"127.0.0.1\", 0))\n"
          "sys.exit(subprocess.run([*sys.argv[1:], \"--port\", str(taken.getsockname()[1])]).returncode)' " +
          kBinary + " serve " + kModel + " 2>&1");
  EXPECT_EQ(result.exit_status, 75) << result.output;
  EXPECT_THAT(result.output, HasSubstr("Cannot listen on 127.0.0.1"));
}

}  // namespace
}  // namespace outrider
