// Repairs that are made only with --only, each on an artifact that has the finding: it is gone afterwards, nothing else
// has changed, and without being asked repair leaves it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "outrider/artifact/repair/repair.h"
#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/testing/repaired_artifact.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/testing/unaligned_file.h"

namespace outrider {
namespace {

using nlohmann::json;
using synthetic::Family;
using testing::bytes_of;
using ::testing::Contains;
using ::testing::Field;
using testing::repaired;
using testing::TempDir;
using testing::write_artifact_of;
using testing::write_file;

class RepairOnRequest : public ::testing::Test {
 protected:
  // Writes an official artifact whose config.json is changed by `change`.
  template <typename Change>
  void write_with_config(const Change& change) {
    write_artifact_of(in(), Family::kOfficial);
    config = json::parse(testing::read_file(in() / "config.json"));
    change(config);
    write_file(in() / "config.json", config.dump());
  }

  // Repairs the finding alone.
  void repair(Code code, const std::optional<std::filesystem::path>& reference = std::nullopt) {
    RepairOptions options;
    options.reference = reference;
    EXPECT_THAT(plan_repair(in(), options).actions, Not(Contains(Field(&RepairAction::code, code))));
    options.only = {code};
    CheckOptions with;
    with.reference = reference;
    const CheckReport before = check_path(in(), with);
    ASSERT_TRUE(before.has(code));
    repaired(in(), out(), options);
    const CheckReport after = check_path(out(), with);
    EXPECT_FALSE(after.has(code));
    for (const Finding& finding : after.findings) EXPECT_TRUE(before.has(finding.id)) << finding.message;
    EXPECT_TRUE(plan_repair(out(), options).empty());
  }

  void expect_same_tensors() {
    const Checkpoint before = Checkpoint::open(in());
    const Checkpoint after = Checkpoint::open(out());
    ASSERT_EQ(before.tensors().size(), after.tensors().size());
    for (const TensorInfo& tensor : before.tensors()) {
      EXPECT_EQ(bytes_of(before, tensor.name), bytes_of(after, tensor.name)) << tensor.name;
    }
  }

  json repaired_config() { return json::parse(testing::read_file(out() / "config.json")); }
  std::filesystem::path in() const { return dir / "in"; }
  std::filesystem::path out() const { return dir / "out"; }

  TempDir dir;
  json config;
};

TEST_F(RepairOnRequest, AddsTheReleasesFieldsBesideTransformers) {
  json releases;
  write_with_config([&](json& c) {
    releases = c;
    const json yarn = c["rope_scaling"];
    c["rope_parameters"] = {{"main", {{"rope_type", "default"}, {"rope_theta", c["rope_theta"]}}}, {"compress", yarn}};
    c["rope_parameters"]["compress"]["rope_type"] = "yarn";
    c["rope_parameters"]["compress"]["rope_theta"] = c["compress_rope_theta"];
    c["mlp_layer_types"] = json::array();
    for (std::size_t i = 0; i < c["num_hidden_layers"]; ++i) {
      c["mlp_layer_types"].push_back(i < c["num_hash_layers"] ? "hash_moe" : "moe");
    }
    for (const char* field : {"rope_theta", "compress_rope_theta", "rope_scaling", "num_hash_layers"}) c.erase(field);
  });
  repair(Code::kTransformersConfig);
  expect_same_tensors();
  json made = repaired_config();
  for (const char* field : {"rope_theta", "compress_rope_theta", "num_hash_layers"}) {
    EXPECT_EQ(made[field], releases[field]) << field;
  }
  for (const auto& [name, value] : releases["rope_scaling"].items())
    EXPECT_EQ(made["rope_scaling"][name], value) << name;
  for (const auto& [name, value] : config.items()) EXPECT_EQ(made[name], value) << name;
}

TEST_F(RepairOnRequest, TakesTheModelsFieldsFromTheReferenceAndKeepsHowItIsStored) {
  write_artifact_of(dir / "reference", Family::kBf16);
  write_with_config([](json& c) {
    c["swiglu_limit"] = 7.0;
    c.erase("rope_scaling");
    c["transformers_version"] = "5.1.0";
    c["of_ours"] = 1;
  });
  // MXFP4 experts beside BF16: their values differ, which is not asked about.
  repair(Code::kReferenceConfig, dir / "reference");
  expect_same_tensors();
  json made = repaired_config();
  const json reference = json::parse(testing::read_file(dir / "reference" / "config.json"));
  EXPECT_EQ(made["swiglu_limit"], reference["swiglu_limit"]);
  EXPECT_EQ(made["rope_scaling"], reference["rope_scaling"]);
  for (const char* kept : {"quantization_config", "transformers_version", "of_ours"})
    EXPECT_EQ(made[kept], config[kept]) << kept;
}

TEST_F(RepairOnRequest, AlignsTheDataOfAFile) {
  write_artifact_of(in(), Family::kOfficial);
  testing::make_unaligned(in() / "model-00002-of-00002.safetensors");
  repair(Code::kUnalignedData);
  expect_same_tensors();
  EXPECT_EQ(testing::read_file(in() / "config.json"), testing::read_file(out() / "config.json"));
}

TEST_F(RepairOnRequest, DeclaresScalesThatWereSavedAsBytes) {
  const std::string official = synthetic::config_json("tiny", Family::kOfficial);
  auto tensors = synthetic::tensor_list(read_config(official).config, {.family = Family::kOfficial});
  for (auto& tensor : tensors) {
    if (tensor.dtype == Dtype::kF8E8M0) tensor.dtype = Dtype::kU8;
  }
  synthetic::write_checkpoint(in(), tensors, official, false);
  repair(Code::kScaleSpelling);
  expect_same_tensors();
  EXPECT_EQ(Checkpoint::open(out()).find("layers.0.attn.wq_a.scale")->dtype, Dtype::kF8E8M0);
}

}  // namespace
}  // namespace outrider
