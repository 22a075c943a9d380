#include "outrider/artifact/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "outrider/artifact/huggingface_config.h"
#include "outrider/testing/synthetic_checkpoint.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using testing::Family;
using ::testing::HasSubstr;
using testing::TempDir;

void write_source(const fs::path& directory, Family family) {
  testing::write_tiny_checkpoint(directory, {.family = family, .mtp_aliases = family == Family::kW4A16, .shards = 3});
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

TEST_P(EveryFamily, ComesBackByteForByte) {
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

TEST(Convert, WhatSavePretrainedStackedComesBackToo) {
  TempDir dir;
  write_source(dir / "in", Family::kHuggingFace);
  converted(dir / "in", dir / "official", Dialect::kOfficial);
  EXPECT_EQ(Checkpoint::open(dir / "official").find("layers.0.ffn.experts.1.w3.weight")->shape.size(), 2U);
  converted(dir / "official", dir / "back", Dialect::kHuggingFace);
  EXPECT_TRUE(read_all(dir / "back") == read_all(dir / "in"));
}

TEST(Convert, FilesAreNoLargerThanAsked) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  const CheckReport made = converted(dir / "in", dir / "out", Dialect::kOfficial, 300'000);
  for (const ShardFile& file : made.checkpoint->files()) {
    EXPECT_TRUE(file.tensor_count == 1 || file.expected_bytes - file.data_start <= 300'000) << file.name;
  }
}

TEST(Convert, RefusesWhatIsNotComplete) {
  TempDir dir;
  const std::string config = testing::config_json("tiny", Family::kBf16);
  auto tensors = testing::tensor_list(read_config(config).config, {.family = Family::kBf16});
  std::erase_if(tensors, [](const auto& t) { return t.name == "norm.weight"; });
  testing::write_checkpoint(dir / "in", tensors, config, true);
  try {
    plan_convert(dir / "in", {});
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("is not complete"));
  }
}

TEST(Convert, TheInferenceConfigBecomesOneThatTransformersReads) {
  const std::string inference = testing::inference_config_json();
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
