// Tests of the program itself, on real files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::TempDir;

class LogitsCommand : public ::testing::Test {
 protected:
  LogitsCommand() {
    const std::string config = synthetic::config_json("tiny", synthetic::Family::kOfficial);
    tensors_ = synthetic::tensor_list(read_config(config).config, {});
    synthetic::write_checkpoint(dir_.path(), tensors_, config, false);
  }

  ProcessResult run(const std::string& arguments) const {
    return testing::run(testing::kBinary + " logits '" + dir_.path().string() + "' " + arguments);
  }

  TempDir dir_;
  std::vector<Checkpoint::Listed> tensors_;
};

TEST_F(LogitsCommand, PrintsTheMostLikelyTokens) {
  const ProcessResult result = run("--tokens 1,2,3 --mtp");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("next token, logit"));
  EXPECT_THAT(result.output, HasSubstr("logit of the MTP block"));
}

TEST_F(LogitsCommand, ChunksDoNotChangeTheLogits) {
  const auto logits = [&](const std::string& arguments) {
    const ProcessResult result = run("--tokens 1,2,3,4,5,6,7,8,9 --mtp --json " + arguments + " 2>/dev/null");
    EXPECT_EQ(result.exit_status, 0) << result.output;
    nlohmann::json json = nlohmann::json::parse(result.output);
    json.erase("mode");
    return json;
  };
  EXPECT_EQ(logits(""), logits("--chunk 2"));
  EXPECT_EQ(logits("--mode exact"), logits("--mode exact --chunk 1 --threads 1"));
  EXPECT_NE(logits("--mode exact"), logits("--mode official"));
}

TEST_F(LogitsCommand, WritesNumpyArrays) {
  const ProcessResult result = run("--tokens 1 --mtp --npy '" + (dir_ / "out.npy").string() + "'");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  const std::string file = testing::read_file(dir_ / "out.npy");
  EXPECT_EQ(file.substr(1, 5), "NUMPY");
  EXPECT_THAT(file, HasSubstr("'descr': '<f4', 'fortran_order': False, 'shape': (2, "));
  EXPECT_EQ(file.find('\n') % 64, 63U);
}

TEST_F(LogitsCommand, RejectsInvalidTokensAndOptions) {
  EXPECT_EQ(run("--tokens 999999").exit_status, 2);
  EXPECT_THAT(run("--tokens 999999").output, HasSubstr("out of range (vocab_size 128)"));
  for (const char* tokens : {"''", "1,,2", "1,x", "-1", "4294967296"}) {
    const ProcessResult result = run(std::string("--tokens ") + tokens);
    EXPECT_EQ(result.exit_status, 2) << tokens;
    EXPECT_THAT(result.output, HasSubstr("is not a token id")) << tokens;
  }
  EXPECT_EQ(run("").exit_status, 2);
  EXPECT_EQ(run("--tokens 1 --chunk 0").exit_status, 2);
  EXPECT_EQ(run("--tokens 1 --mode quick").exit_status, 2);
}

TEST_F(LogitsCommand, ListsEveryMissingTensor) {
  std::erase_if(tensors_, [](const Checkpoint::Listed& t) {
    return t.name == "head.weight" || t.name == "layers.2.attn.wkv.weight" || t.name == "layers.0.ffn_norm.weight";
  });
  synthetic::write_checkpoint(dir_.path(), tensors_, synthetic::config_json("tiny", synthetic::Family::kOfficial),
                              false);
  const ProcessResult result = run("--tokens 1");
  EXPECT_EQ(result.exit_status, 2);
  for (const char* name : {"head.weight", "layers.2.attn.wkv.weight", "layers.0.ffn_norm.weight"}) {
    EXPECT_THAT(result.output, HasSubstr(name));
  }
}

}  // namespace
}  // namespace outrider
