// Tests the registry on real tensor lists, and what check reports on them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/check/check.h"
#include "outrider/check/report.h"
#include "outrider/testing/process.h"
#include "outrider/testing/shared_data.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string unxz(const std::filesystem::path& path) {
  const testing::ProcessResult result = testing::run("xz -dc '" + path.string() + "'");
  EXPECT_EQ(result.exit_status, 0) << result.output.substr(0, 200);
  return result.output;
}

std::vector<Checkpoint::Listed> read_list(const std::string& name) {
  std::istringstream lines(unxz(testing::shared_data() / "tensors" / (name + ".tensors.tsv.xz")));
  std::vector<Checkpoint::Listed> out;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string tensor;
    std::string dtype;
    std::string shape;
    std::string file;
    std::getline(fields, tensor, '\t');
    std::getline(fields, dtype, '\t');
    std::getline(fields, shape, '\t');
    std::getline(fields, file, '\t');
    Checkpoint::Listed listed{tensor, dtype_from_name(dtype).value(), {}, file.empty() ? "model.safetensors" : file};
    std::istringstream dims(shape);
    for (std::string dim; std::getline(dims, dim, ',');) listed.shape.push_back(std::stoull(dim));
    out.push_back(std::move(listed));
  }
  return out;
}

std::string config(const std::string& name) {
  return testing::read_file(testing::shared_data() / "configs" / (name + ".config.json"));
}

CheckReport check_listing(const std::vector<Checkpoint::Listed>& list, const std::string& config_text,
                          bool names_only = false) {
  return check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::from_listing(list, config_text, names_only)));
}

std::vector<std::string> codes(const CheckReport& report) {
  std::vector<std::string> out;
  for (const Finding& f : report.findings) out.emplace_back(f.kind().code);
  return out;
}

std::map<std::string, std::pair<Dtype, std::vector<std::uint64_t>>> by_name(
    const std::vector<Checkpoint::Listed>& list) {
  std::map<std::string, std::pair<Dtype, std::vector<std::uint64_t>>> out;
  for (const auto& t : list) out[t.name] = {t.dtype, t.shape};
  return out;
}

TEST(ReferenceLists, TheRegistryReproducesTheOfficialRelease) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const auto list = read_list("V4-Flash_official_fp4fp8");
  ASSERT_EQ(list.size(), 69187U);
  const ModelConfig c = read_config(config("official_DeepSeek-V4-Flash")).config;
  EXPECT_EQ(by_name(synthetic::tensor_list(c, {})), by_name(list));
}

TEST(ReferenceLists, TheRegistryReproducesTheDsparkRelease) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const auto list = read_list("V4-Flash-0731_official_fp4fp8");
  const ModelConfig c = read_config(config("official_DeepSeek-V4-Flash-0731")).config;
  synthetic::SyntheticOptions options;
  options.family = synthetic::Family::kDspark;
  EXPECT_EQ(by_name(synthetic::tensor_list(c, options)), by_name(list));
}

TEST(ReferenceLists, OfficialFlashIsSound) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const CheckReport report = check_listing(read_list("V4-Flash_official_fp4fp8"), config("official_DeepSeek-V4-Flash"));
  EXPECT_EQ(report.exit_status(true), 0);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.family, "DeepSeek-V4-Flash, official FP4/FP8");
  EXPECT_EQ(report.dialect, "official");
  EXPECT_EQ(report.drafter.tensors, 1575U);
  EXPECT_EQ(codes(report), (std::vector<std::string>{"OUT050", "OUT057"}));
  EXPECT_EQ(report.checkpoint->tensor_bytes(), 159'609'485'896U);
}

TEST(ReferenceLists, TheInferenceSpellingIsEquivalent) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const std::string text =
      testing::read_file(testing::shared_data() / "configs" / "official_DeepSeek-V4-Flash.inference_config.json");
  const ConfigReading reading = read_config(text);
  EXPECT_EQ(reading.spelling, ConfigSpelling::kInference);
  for (const ConfigIssue& issue : reading.issues) ADD_FAILURE() << issue.message;
  const CheckReport report = check_listing(read_list("V4-Flash_official_fp4fp8"), text);
  EXPECT_NE(report.plan, nullptr);
}

TEST(ReferenceLists, The0731ReleaseHasDsparkNotMtp) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const CheckReport report =
      check_listing(read_list("V4-Flash-0731_official_fp4fp8"), config("official_DeepSeek-V4-Flash-0731"));
  EXPECT_EQ(report.exit_status(true), 0);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.drafter.kind, DrafterKind::kDspark);
  EXPECT_EQ(report.drafter.blocks, 3U);
  EXPECT_EQ(report.drafter.tensors, 4705U);
  EXPECT_THAT(report.family, HasSubstr("DSpark drafter"));
  EXPECT_EQ(codes(report), (std::vector<std::string>{"OUT052"}));
}

TEST(ReferenceLists, ThePro0813ReleaseHasDspark) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const auto list = read_list("V4-Pro-0813_official_fp4fp8");
  const std::string text = config("official_DeepSeek-V4-Pro-0813");
  synthetic::SyntheticOptions options;
  options.family = synthetic::Family::kDspark;
  EXPECT_EQ(by_name(synthetic::tensor_list(read_config(text).config, options)), by_name(list));
  const CheckReport report = check_listing(list, text);
  EXPECT_EQ(report.exit_status(true), 0);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.drafter.kind, DrafterKind::kDspark);
  EXPECT_EQ(report.drafter.tensors, 7009U);
  EXPECT_EQ(read_config(text).config.dspark->markov_rank, 512U);
  EXPECT_EQ(report.checkpoint->tensor_bytes(), 892'727'580'904U);
  EXPECT_THAT(report_text(report),
              HasSubstr("DSpark, 3 stages, 7,009 tensors; head: the model's, embedding: the model's"));
  EXPECT_EQ(codes(report), (std::vector<std::string>{"OUT052"}));
}

TEST(ReferenceLists, A0731PrunedTogetherWithItsDrafterIsSound) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const CheckReport report =
      check_listing(read_list("0xSero_V4-Flash-0731-REAP-K160"), config("0xSero_V4-Flash-0731-REAP-K160"));
  EXPECT_EQ(report.exit_status(true), 0);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.drafter.tensors, 2977U);
  EXPECT_THAT(report.family, HasSubstr("pruned to 160 experts"));
  EXPECT_EQ(codes(report), (std::vector<std::string>{"OUT052"}));
}

// Its config is known in part; the fields of the text model are those of 0731.
TEST(ReferenceLists, VisionExpIsSoundAndItsVisionTensorsAreUnused) {
  OUTRIDER_NEEDS_SHARED_DATA();
  nlohmann::json fields = nlohmann::json::parse(config("official_DeepSeek-V4-Flash-0731"));
  fields.update(nlohmann::json::parse(config("partial_DeepSeek-V4-Flash-Vision-Exp")));
  const CheckReport report = check_listing(read_list("V4-Flash-Vision-Exp_official_fp4fp8"), fields.dump());
  EXPECT_EQ(report.exit_status(true), 0);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.drafter.blocks, 3U);
  EXPECT_EQ(codes(report), (std::vector<std::string>{"OUT023", "OUT052"}));
  // vision.*, aligner.*, image_*, and the routers' biases for image tokens, those of hash-routed layers too
  EXPECT_THAT(report_text(report), HasSubstr("316 tensors: vision tower"));
}

TEST(ReferenceLists, ThePrunedIndexIsRecognisedByNamesAlone) {
  OUTRIDER_NEEDS_SHARED_DATA();
  testing::TempDir dir;
  testing::write_file(dir / "config.json", config("puwaer_V4-Flash-0731-REAP-K178"));
  testing::write_file(dir / "model.safetensors.index.json",
                      unxz(testing::shared_data() / "tensors" / "puwaer_V4-Flash-0731-REAP-K178.index.json.xz"));
  const CheckReport report = check_path(dir.path());
  EXPECT_THAT(report.family, HasSubstr("DeepSeek-V4-Flash-0731 without its DSpark drafter, pruned to 178 experts"));
  EXPECT_TRUE(report.checkpoint->names_only());
  EXPECT_EQ(report.plan, nullptr);
  EXPECT_TRUE(report.has(Code::kNamesOnly));
  EXPECT_TRUE(report.has(Code::kMtpDropped));
  EXPECT_FALSE(report.has(Code::kParameterMissing));
  EXPECT_FALSE(report.has(Code::kUnknownTensor));
  EXPECT_EQ(report.exit_status(), 1);
}

// The motivating case: the same weights before and after the repair published with vLLM issue 43456.
TEST(ReferenceLists, Issue43456BeforeAndAfterRepair) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const std::string text = synthetic::config_json("flash", synthetic::Family::kW4A16);
  const CheckReport before = check_listing(read_list("V4-Flash_W4A16-FP8-MTP_issue43456_no-alias"), text);
  ASSERT_NE(before.plan, nullptr);
  EXPECT_EQ(before.drafter.tensors, 797U);
  EXPECT_EQ(before.exit_status(), 0);
  EXPECT_TRUE(before.has(Code::kMtpSharesHead));
  const CheckReport after = check_listing(read_list("V4-Flash_W4A16-FP8-MTP_repaired_aliases"), text);
  ASSERT_NE(after.plan, nullptr);
  EXPECT_EQ(after.drafter.tensors, 799U);
  EXPECT_EQ(after.drafter.own_heads, 1U);
  EXPECT_EQ(after.exit_status(), 0);
  EXPECT_FALSE(after.has(Code::kMtpSharesHead));
  EXPECT_THAT(after.family, StartsWith("DeepSeek-V4-Flash, W4A16-FP8-MTP"));
}

TEST(ReferenceLists, Nvfp4IsSound) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const CheckReport report = check_listing(read_list("V4-Flash_NVFP4-FP8-MTP_derived"),
                                           synthetic::config_json("flash", synthetic::Family::kNvfp4));
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.exit_status(), 0);
  EXPECT_THAT(report.family, StartsWith("DeepSeek-V4-Flash, NVFP4-FP8-MTP"));
}

TEST(ReferenceLists, AFlashShapedBf16ArtifactWith797KeysIsCompleteWithANote) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const std::string text = synthetic::config_json("flash", synthetic::Family::kBf16);
  synthetic::SyntheticOptions options;
  options.family = synthetic::Family::kBf16;
  const CheckReport without = check_listing(synthetic::tensor_list(read_config(text).config, options), text);
  ASSERT_NE(without.plan, nullptr);
  EXPECT_EQ(without.drafter.tensors, 797U);
  EXPECT_EQ(without.exit_status(true), 0);
  ASSERT_TRUE(without.has(Code::kMtpSharesHead));
  for (const Finding& f : without.findings) {
    if (f.id != Code::kMtpSharesHead) continue;
    EXPECT_EQ(f.kind().severity, Severity::kNote);
    EXPECT_THAT(std::string(f.kind().effect), HasSubstr("vLLM"));
    EXPECT_THAT(std::string(f.remedy_text()), HasSubstr("mtp.N.head.weight"));
  }
  options.mtp_aliases = true;
  const CheckReport with = check_listing(synthetic::tensor_list(read_config(text).config, options), text);
  EXPECT_EQ(with.drafter.tensors, 799U);
  EXPECT_FALSE(with.has(Code::kMtpSharesHead));
  EXPECT_EQ(with.exit_status(true), 0);
}

// The Pro config is incomplete: missing fields are listed, and the shapes still follow from the rest.
TEST(ReferenceLists, ProHasTheDocumentedNumberOfTensors) {
  OUTRIDER_NEEDS_SHARED_DATA();
  const ConfigReading reading = read_config(config("partial_DeepSeek-V4-Pro"));
  EXPECT_TRUE(reading.shapes_known);
  EXPECT_FALSE(reading.issues.empty());
  const auto list = synthetic::tensor_list(reading.config, {});
  EXPECT_EQ(list.size(), 145'116U);
  std::uint64_t bytes = 0;
  for (const auto& t : list) bytes += *tensor_bytes(t.dtype, t.shape);
  EXPECT_EQ(bytes, 864'704'792'696U);
  EXPECT_EQ(std::count_if(list.begin(), list.end(), [](const auto& t) { return t.name.starts_with("mtp.0."); }), 2343);
}

TEST(ReferenceLists, RealHuggingFaceNamesAreKnown) {
  OUTRIDER_NEEDS_SHARED_DATA();
  std::istringstream lines(
      testing::read_file(testing::shared_data() / "tensors" / "W4A16_dryrun_hf_style_key_sample.txt"));
  int known = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line == "head.weight" || (line.starts_with("model.") &&
                                  (line.find("weight") != std::string::npos || line.find("_hc.") != std::string::npos ||
                                   line.ends_with("sinks") || line.ends_with("position_bias")))) {
      const TensorName name = parse_tensor_name(line, 43, false);
      const bool exploded =
          line.find("shared_experts.") != std::string::npos && name.kind == TensorName::Kind::kExploded;
      EXPECT_TRUE(name.kind == TensorName::Kind::kParameter || exploded) << line;
      ++known;
    }
  }
  EXPECT_GE(known, 60);
}

}  // namespace
}  // namespace outrider
