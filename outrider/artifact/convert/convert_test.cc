#include "outrider/artifact/convert/convert.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "outrider/artifact/convert/huggingface_config.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using synthetic::Family;
using ::testing::HasSubstr;
using testing::TempDir;

void write_source(const fs::path& directory, Family family) {
  synthetic::write_tiny_checkpoint(directory, {.family = family, .mtp_aliases = family == Family::kW4A16, .shards = 3});
}

CheckReport converted(const fs::path& from, const fs::path& to, Dialect dialect, std::uint64_t shard = 5'000'000'000) {
  ConvertOptions options;
  options.to = dialect;
  options.max_shard_bytes = shard;
  const ConvertPlan plan = plan_convert(from, options);
  return make_artifact(plan.artifact, plan.sources, from, to, [](const CheckReport&) {});
}

struct Stored {
  Dtype dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;

  friend bool operator==(const Stored&, const Stored&) = default;
};

std::map<std::string, Stored> read_all(const fs::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  std::map<std::string, Stored> out;
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const TensorInfo& info = checkpoint.tensors()[t];
    const ShardFile& file = checkpoint.files()[info.file];
    Stored stored{info.dtype, {info.shape.begin(), info.shape.end()}, std::vector<std::byte>(info.bytes())};
    FileReader(file.path).read(file.data_start + info.begin, stored.bytes);
    out.emplace(checkpoint.name(t), std::move(stored));
  }
  return out;
}

class EveryFamily : public ::testing::TestWithParam<Family> {};

TEST_P(EveryFamily, RoundTripsByteForByte) {
  TempDir dir;
  write_source(dir / "in", GetParam());
  const CheckReport there = converted(dir / "in", dir / "there", Dialect::kHuggingFace);
  EXPECT_TRUE(there.plan != nullptr);
  EXPECT_THAT(there.dialect, HasSubstr("Hugging Face"));
  EXPECT_FALSE(there.has(Code::kMixedNaming));
  EXPECT_FALSE(there.has(Code::kQuantizationConfigMismatch));
  const CheckReport back = converted(dir / "there", dir / "back", Dialect::kOfficial, 500'000);
  EXPECT_TRUE(back.plan != nullptr);
  EXPECT_FALSE(back.has(Code::kQuantizationConfigMismatch));
  EXPECT_GT(back.checkpoint->files().size(), 1U);
  EXPECT_TRUE(read_all(dir / "back") == read_all(dir / "in"));
}

INSTANTIATE_TEST_SUITE_P(Convert, EveryFamily,
                         ::testing::Values(Family::kOfficial, Family::kBf16, Family::kW4A16, Family::kNvfp4,
                                           Family::kModelopt, Family::kFp8, Family::kDspark));

TEST(Convert, StacksOfSavePretrainedRoundTrip) {
  TempDir dir;
  write_source(dir / "in", Family::kHuggingFace);
  converted(dir / "in", dir / "official", Dialect::kOfficial);
  EXPECT_EQ(Checkpoint::open(dir / "official").find("layers.0.ffn.experts.1.w3.weight")->shape.size(), 2U);
  converted(dir / "official", dir / "back", Dialect::kHuggingFace);
  EXPECT_TRUE(read_all(dir / "back") == read_all(dir / "in"));
}

TEST(Convert, RenamesModulesInQuantisationDescriptions) {
  TempDir dir;
  write_source(dir / "in", Family::kModelopt);
  auto config = nlohmann::json::parse(testing::read_file(dir / "in" / "config.json"));
  nlohmann::json& q = config["quantization_config"];
  q["quant_method"] = "fp8";
  q["moe_quant_algo"] = "NVFP4";
  q["ignore"] = {"*.attn.*", "head", "mtp.*"};
  for (int i = 0; i < 6; ++i)
    q["quantized_layers"][fmt::format("layers.{}.ffn.experts", i)] = {{"quant_algo", "NVFP4"}};
  testing::write_file(dir / "in" / "config.json", config.dump());
  const nlohmann::json beside = {{"quantization",
                                  {{"quant_algo", "MIXED_PRECISION"},
                                   {"quantized_layers", q["quantized_layers"]},
                                   {"moe_quant_algo", "NVFP4"},
                                   {"exclude_modules", q["ignore"]}}}};
  testing::write_file(dir / "in" / "hf_quant_config.json", beside.dump());
  testing::write_file(dir / "in" / "quantize_config.json", "{}");
  const CheckReport stale = converted(dir / "in", dir / "stale", Dialect::kHuggingFace);
  EXPECT_FALSE(fs::exists(dir / "stale" / "quantize_config.json"));
  EXPECT_FALSE(fs::exists(dir / "stale" / "hf_quant_config.json"));  // one of the files does not match the tensors
  fs::remove(dir / "in" / "quantize_config.json");

  const CheckReport there = converted(dir / "in", dir / "there", Dialect::kHuggingFace);
  EXPECT_FALSE(there.has(Code::kQuantizationConfigMismatch));
  EXPECT_FALSE(there.has(Code::kStaleQuantizationFile));
  const auto made = nlohmann::json::parse(testing::read_file(dir / "there" / "hf_quant_config.json"))["quantization"];
  EXPECT_TRUE(made["quantized_layers"].contains("model.layers.3.mlp.experts")) << made;
  EXPECT_EQ(made["exclude_modules"], nlohmann::json({"*.self_attn.*", "lm_head", "model.mtp.*"}));
  const auto made_config = nlohmann::json::parse(testing::read_file(dir / "there" / "config.json"));
  EXPECT_EQ(made_config["quantization_config"]["ignore"], made["exclude_modules"]);
  EXPECT_EQ(made_config["quantization_config"]["quant_method"], "fp8");
  converted(dir / "there", dir / "back", Dialect::kOfficial);
  EXPECT_EQ(nlohmann::json::parse(testing::read_file(dir / "back" / "config.json")), config);
  EXPECT_EQ(nlohmann::json::parse(testing::read_file(dir / "back" / "hf_quant_config.json")), beside);
}

TEST(Convert, StacksQuantisedExpertsWithTheirScales) {
  for (const Family family : {Family::kOfficial, Family::kFp8}) {
    TempDir dir;
    write_source(dir / "in", family);
    converted(dir / "in", dir / "out", Dialect::kHuggingFace);
    const Checkpoint made = Checkpoint::open(dir / "out");
    const TensorInfo* codes = made.find("model.layers.0.mlp.experts.gate_up_proj");
    const TensorInfo* scales = made.find("model.layers.0.mlp.experts.gate_up_proj_scale_inv");
    ASSERT_TRUE(codes != nullptr && scales != nullptr);
    EXPECT_EQ(codes->shape.size(), 3U);
    EXPECT_EQ(scales->shape.size(), 3U);
    EXPECT_EQ(made.find("model.layers.0.mlp.experts.0.gate_proj.weight"), nullptr);
    // Converted again, they are stacked again.
    converted(dir / "out", dir / "again", Dialect::kHuggingFace);
    EXPECT_TRUE(read_all(dir / "again") == read_all(dir / "out"));
  }
}

TEST(Convert, RespectsTheMaximumFileSize) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  const CheckReport made = converted(dir / "in", dir / "out", Dialect::kOfficial, 300'000);
  for (const ShardFile& file : made.checkpoint->files()) {
    EXPECT_TRUE(file.tensor_count == 1 || file.expected_bytes - file.data_start <= 300'000) << file.name;
  }
}

TEST(Convert, RejectsIncompleteCheckpoints) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16});
  std::erase_if(tensors, [](const auto& t) { return t.name == "norm.weight"; });
  synthetic::write_checkpoint(dir / "in", tensors, config, true);
  try {
    plan_convert(dir / "in", {});
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("is incomplete"));
  }
}

TEST(Convert, ConvertsTheInferenceConfigToTransformersFormat) {
  const std::string inference = synthetic::inference_config_json();
  const ConfigReading ours = read_config(inference);
  ASSERT_TRUE(ours.sound()) << ours.issues[0].message;
  const ConfigReading theirs = read_config(huggingface_config(ours).dump());
  ASSERT_TRUE(theirs.sound()) << theirs.issues[0].message;
  EXPECT_EQ(theirs.spelling, ConfigSpelling::kHuggingFace);
  EXPECT_EQ(theirs.config.hidden_size, 256U);
  EXPECT_EQ(theirs.config.num_nextn_predict_layers, 1U);
  EXPECT_EQ(theirs.config.layers[0].type, AttentionType::kCompressedSparse);
  EXPECT_EQ(theirs.config.yarn->factor, 16);
  EXPECT_EQ(theirs.config.max_position_embeddings, ours.config.max_position_embeddings);
}

}  // namespace
}  // namespace outrider
