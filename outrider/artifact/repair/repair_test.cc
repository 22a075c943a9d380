#include "outrider/artifact/repair/repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/binding/weights.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/repaired_artifact.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using synthetic::Family;
using testing::bytes_of;
using testing::error_message;
using ::testing::HasSubstr;
using testing::repaired;
using testing::TempDir;
using testing::write_artifact_of;
using testing::write_file;

ino_t inode(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_ino;
}

TEST(Repair, AddsTheMtpBlocksOwnHeadInFloat32AndLinksTheRest) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kW4A16);
  const CheckReport before = check_path(dir / "in");
  const CheckReport after = repaired(dir / "in", dir / "out");
  EXPECT_TRUE(after.plan != nullptr);
  EXPECT_FALSE(after.has(Code::kMtpSharesHead));
  EXPECT_EQ(after.drafter.tensors, before.drafter.tensors + 2);

  const Checkpoint made = Checkpoint::open(dir / "out");
  EXPECT_EQ(made.find("mtp.0.head.weight")->dtype, Dtype::kF32);
  EXPECT_EQ(made.find("mtp.0.emb.tok_emb.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(bytes_of(made, "mtp.0.emb.tok_emb.weight"), bytes_of(made, "embed.weight"));
  const std::vector<std::byte> wide = bytes_of(made, "mtp.0.head.weight");
  const std::vector<std::byte> narrow = bytes_of(made, "head.weight");
  ASSERT_EQ(wide.size(), 2 * narrow.size());
  for (std::size_t i = 0; i < narrow.size() / 2; ++i) {
    std::uint32_t w = 0;
    std::uint16_t n = 0;
    std::memcpy(&w, wide.data() + 4 * i, 4);
    std::memcpy(&n, narrow.data() + 2 * i, 2);
    ASSERT_EQ(w, std::uint32_t{n} << 16) << i;
  }
  for (const ShardFile& file : before.checkpoint->files()) {
    EXPECT_TRUE(inode(dir / "in" / file.name) == inode(dir / "out" / file.name)) << file.name;
  }
}

TEST(Repair, KeepsTheHeadsDtypeOnRequest) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  RepairOptions options;
  options.alias_in_float32 = false;
  repaired(dir / "in", dir / "out", options);
  const Checkpoint made = Checkpoint::open(dir / "out");
  EXPECT_EQ(made.find("mtp.0.head.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(bytes_of(made, "mtp.0.head.weight"), bytes_of(made, "head.weight"));
}

TEST(Repair, WidensTheModelsHeadOnRequest) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  RepairOptions options;
  options.head_in_float32 = true;
  repaired(dir / "in", dir / "out", options);
  const Checkpoint made = Checkpoint::open(dir / "out");
  EXPECT_EQ(made.find("head.weight")->dtype, Dtype::kF32);
  EXPECT_EQ(bytes_of(made, "mtp.0.head.weight"), bytes_of(made, "head.weight"));
  EXPECT_TRUE(made.duplicates().empty());
}

TEST(Repair, RepairsOnlySelectedFindings) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  RepairOptions options;
  options.only = {Code::kIndexTotalSize};
  EXPECT_TRUE(plan_repair(dir / "in", options).empty());
}

// Repairs an artifact with a changed config.json; returns the result's config.json, of which check has no findings.
nlohmann::json repaired_config(Family family, const std::function<void(nlohmann::json&)>& change) {
  TempDir dir;
  write_artifact_of(dir / "in", family);
  auto config = nlohmann::json::parse(testing::read_file(dir / "in" / "config.json"));
  change(config);
  write_file(dir / "in" / "config.json", config.dump());
  EXPECT_TRUE(check_path(dir / "in").has(Code::kQuantizationConfigMismatch)) << config;
  const CheckReport after = repaired(dir / "in", dir / "out");
  const auto made = nlohmann::json::parse(testing::read_file(dir / "out" / "config.json"));
  EXPECT_FALSE(after.has(Code::kQuantizationConfigMismatch)) << made;
  return made;
}

TEST(Repair, KeepsTheQuantisationMethod) {
  const auto nvidia = repaired_config(Family::kModelopt, [](nlohmann::json& config) {
    config["quantization_config"] = {{"quant_method", "fp8"}, {"moe_quant_algo", "NVFP4"}, {"ignore", {"*.attn.*"}}};
  });
  EXPECT_EQ(nvidia["quantization_config"]["quant_method"], "fp8");
  EXPECT_EQ(nvidia["quantization_config"]["moe_quant_algo"], "NVFP4");
  EXPECT_EQ(nvidia["quantization_config"]["ignore"], nlohmann::json({"*.attn.*", "mtp.*"}));
  EXPECT_EQ(nvidia["expert_dtype"], "fp4");

  const auto listed = repaired_config(Family::kModelopt, [](nlohmann::json& config) {
    config["expert_dtype"] = "fp4";
    config["quantization_config"] = {{"quant_method", "fp8"},
                                     {"moe_quant_algo", "NVFP4"},
                                     {"quantized_layers", {{"mtp.0.ffn.experts", {{"quant_algo", "NVFP4"}}}}}};
  });
  EXPECT_EQ(listed["quantization_config"]["quantized_layers"].size(), 6U);

  const auto released = repaired_config(Family::kOfficial, [](nlohmann::json& config) {
    config["expert_dtype"] = "fp8";
    config["quantization_config"]["modules_to_not_convert"] = {"layers.0.attn"};
  });
  EXPECT_EQ(released["expert_dtype"], "fp4");
  EXPECT_FALSE(released["quantization_config"].contains("modules_to_not_convert"));

  const auto packed = repaired_config(Family::kW4A16, [](nlohmann::json& config) {
    config["quantization_config"] = {{"quant_method", "fp8"}, {"moe_quant_algo", "NVFP4"}};
  });
  EXPECT_EQ(packed["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_FALSE(packed["quantization_config"].contains("moe_quant_algo"));
}

TEST(Repair, LeavesAForeignArtifactAlone) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16});
  for (auto& t : tensors) {
    if (t.name.find(".experts.") != std::string::npos) t.name.replace(t.name.size() - 6, 6, "trellis");
  }
  synthetic::write_checkpoint(dir / "in", tensors, config, true);
  const RepairPlan plan = plan_repair(dir / "in", {});
  EXPECT_TRUE(plan.empty());
  ASSERT_EQ(plan.remaining.size(), 1U);
  EXPECT_EQ(plan.remaining[0].code, Code::kForeignFormat);
  EXPECT_EQ(plan.before->exit_status(), 1);
}

TEST(Repair, ASecondRepairChangesNothing) {
  TempDir dir;
  for (const Family family : {Family::kOfficial, Family::kW4A16, Family::kNvfp4, Family::kModelopt, Family::kFp8}) {
    fs::remove_all(dir / "in");
    write_artifact_of(dir / "in", family);
    if (plan_repair(dir / "in", {}).empty()) continue;
    repaired(dir / "in", std::nullopt);
    const RepairPlan again = plan_repair(dir / "in", {});
    EXPECT_TRUE(again.empty()) << again.actions[0].what;
  }
}

TEST(Repair, InPlaceKeepsAllOtherFilesAndFolders) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  write_file(dir / "in" / "README.md", "read me");
  write_file(dir / "in" / ".gitattributes", "lfs");
  fs::create_directories(dir / "in" / "encoding" / "tests");
  write_file(dir / "in" / "encoding" / "tests" / "a.json", "{}");
  fs::create_symlink("README.md", dir / "in" / "link.md");
  chmod((dir / "in").c_str(), 0750);
  repaired(dir / "in", std::nullopt);
  EXPECT_EQ(testing::read_file(dir / "in" / "README.md"), "read me");
  EXPECT_EQ(testing::read_file(dir / "in" / ".gitattributes"), "lfs");
  EXPECT_EQ(testing::read_file(dir / "in" / "encoding" / "tests" / "a.json"), "{}");
  EXPECT_EQ(fs::read_symlink(dir / "in" / "link.md"), "README.md");
  EXPECT_EQ(static_cast<unsigned>(fs::status(dir / "in").permissions()), 0750U);
  EXPECT_TRUE(Checkpoint::open(dir / "in").find("mtp.0.head.weight") != nullptr);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1);
}

TEST(Repair, InPlaceFollowsLinkedShards) {
  // As in the Hugging Face hub's cache: a snapshot of links into blobs.
  TempDir dir;
  write_artifact_of(dir / "snapshots" / "rev", Family::kOfficial);
  fs::create_directories(dir / "blobs");
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    fs::rename(dir / "snapshots" / "rev" / name, dir / "blobs" / name);
    fs::create_symlink(fs::path("../../blobs") / name, dir / "snapshots" / "rev" / name);
  }
  const CheckReport after = repaired(dir / "snapshots" / "rev", std::nullopt);
  EXPECT_TRUE(after.plan != nullptr);
  EXPECT_TRUE(fs::is_symlink(dir / "snapshots" / "rev" / "model-00001-of-00002.safetensors"));
  EXPECT_TRUE(check_path(dir / "snapshots" / "rev").plan != nullptr);
}

TEST(Repair, ASingleFileThatIsSplitGetsAnIndex) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial, 1);
  const std::string name = Checkpoint::open(dir / "in").files()[0].name;
  fs::rename(dir / "in" / name, dir / "in" / "model.safetensors");
  fs::remove(dir / "in" / "model.safetensors.index.json");
  const CheckReport after = repaired(dir / "in", std::nullopt);
  EXPECT_TRUE(after.plan != nullptr);
  EXPECT_TRUE(after.checkpoint->has_index());
  EXPECT_FALSE(fs::exists(dir / "in" / "model.safetensors"));
  EXPECT_TRUE(fs::exists(dir / "in" / "model-00001-of-00002.safetensors"));
}

// "source", and "in", whose F32 tensors are BF16.
void write_downcast_artifact(const TempDir& dir) {
  write_artifact_of(dir / "source", Family::kBf16);
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16, .shards = 2});
  for (auto& t : tensors) {
    if (t.dtype == Dtype::kF32) t.dtype = Dtype::kBF16;
  }
  synthetic::write_checkpoint(dir / "in", tensors, config, false);
}

TEST(Repair, RestoresFloat32ByteForByteFromTheReference) {
  TempDir dir;
  write_downcast_artifact(dir);
  RepairOptions options;
  options.reference = dir / "source";
  repaired(dir / "in", dir / "out", options);
  const Checkpoint made = Checkpoint::open(dir / "out");
  const Checkpoint source = Checkpoint::open(dir / "source");
  EXPECT_EQ(made.find("layers.2.attn.attn_sink")->dtype, Dtype::kF32);
  for (const char* name : {"layers.2.attn.attn_sink", "hc_head_fn", "mtp.0.hc_attn_fn", "layers.3.ffn.gate.bias"}) {
    EXPECT_EQ(bytes_of(made, name), bytes_of(source, name)) << name;
  }
}

TEST(Repair, LeavesAValueThatTheReferenceContradicts) {
  TempDir dir;
  write_downcast_artifact(dir);
  const char* const trained = "layers.2.attn.attn_sink";
  {
    const Checkpoint before = Checkpoint::open(dir / "in");
    const TensorInfo* tensor = before.find(trained);
    const ShardFile& file = before.files()[tensor->file];
    std::fstream data(file.path, std::ios::in | std::ios::out | std::ios::binary);
    data.seekp(static_cast<std::streamoff>(file.data_start + tensor->begin));
    data.write("\x40\x40", 2);  // 3.0
  }
  std::vector<std::byte> widened;  // to F32
  const std::vector<std::byte> bytes = bytes_of(Checkpoint::open(dir / "in"), trained);
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    widened.insert(widened.end(), {std::byte{0}, std::byte{0}, bytes[i], bytes[i + 1]});
  }
  RepairOptions options;
  options.reference = dir / "source";
  options.partial = true;
  repaired(dir / "in", dir / "out", options);
  const Checkpoint made = Checkpoint::open(dir / "out");
  EXPECT_EQ(bytes_of(made, trained), widened);
  EXPECT_EQ(bytes_of(made, "hc_head_fn"), bytes_of(Checkpoint::open(dir / "source"), "hc_head_fn"));
}

TEST(Repair, WritesAResultWithErrorsOnlyOnRequest) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16});
  std::erase_if(tensors, [](const auto& t) { return t.name == "norm.weight"; });
  synthetic::write_checkpoint(dir / "in", tensors, config, false);
  const RepairPlan plan = plan_repair(dir / "in", {});
  EXPECT_FALSE(plan.empty());  // the MTP block's own head
  EXPECT_TRUE(plan.leaves_errors());
  EXPECT_THAT(error_message([&] { carry_out(plan, dir / "in", dir / "out"); }), HasSubstr("still has an error"));
  EXPECT_FALSE(fs::exists(dir / "out"));
  RepairOptions partial;
  partial.partial = true;
  EXPECT_EQ(repaired(dir / "in", dir / "out", partial).exit_status(), 1);
  EXPECT_TRUE(Checkpoint::open(dir / "out").find("mtp.0.head.weight") != nullptr);
}

TEST(Repair, DropsUnknownTensorsOnlyOnRequest) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16});
  tensors.push_back({"layers.0.attn.bias_of_ours", Dtype::kBF16, {4}, tensors[0].file});
  synthetic::write_checkpoint(dir / "in", tensors, config, false);
  repaired(dir / "in", dir / "out");
  EXPECT_TRUE(Checkpoint::open(dir / "out").find("layers.0.attn.bias_of_ours") != nullptr);
  RepairOptions asked;
  asked.only = {Code::kUnknownTensor};
  repaired(dir / "in", dir / "asked", asked);
  EXPECT_TRUE(Checkpoint::open(dir / "asked").find("layers.0.attn.bias_of_ours") == nullptr);
}

// The other fields of a group do not follow from the tensors, so they could not be restored.
TEST(Repair, GroupsKeepTheirOtherFieldsWhenTargetsAreRewritten) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kNvfp4);
  auto config = nlohmann::json::parse(testing::read_file(dir / "in" / "config.json"));
  nlohmann::json& groups = config["quantization_config"]["config_groups"];
  groups["group_0"]["input_activations"] = {{"num_bits", 4}, {"type", "float"}, {"dynamic", "local"}};
  groups["group_1"]["weights"]["observer"] = "static_minmax";
  groups["group_1"]["targets"] = {R"(re:.*self_attn\..*)"};
  write_file(dir / "in" / "config.json", config.dump());
  ASSERT_TRUE(check_path(dir / "in").has(Code::kQuantizationConfigMismatch));
  EXPECT_FALSE(repaired(dir / "in", dir / "out").has(Code::kQuantizationConfigMismatch));
  const auto made = nlohmann::json::parse(testing::read_file(dir / "out" / "config.json"));
  const nlohmann::json& after = made["quantization_config"]["config_groups"];
  EXPECT_EQ(after["group_0"]["input_activations"], groups["group_0"]["input_activations"]);
  EXPECT_EQ(after["group_1"]["weights"], groups["group_1"]["weights"]);
}

// vLLM's names of the modules that weights are loaded into; published NVFP4 artifacts have such targets with official
// names.
TEST(Repair, KeepsTargetsWithFusedNames) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kNvfp4);
  auto config = nlohmann::json::parse(testing::read_file(dir / "in" / "config.json"));
  nlohmann::json& groups = config["quantization_config"]["config_groups"];
  groups["group_0"]["targets"] = {R"(re:layers\.\d+\.ffn\.experts\.\d+\.(gate|up|down)_proj$)"};
  groups["group_1"]["targets"] = {R"(re:layers\.\d+\.attn\.(fused_wqa_wkv|wq_b|wo_a|wo_b)$)"};
  write_file(dir / "in" / "config.json", config.dump());
  EXPECT_FALSE(check_path(dir / "in").has(Code::kQuantizationConfigMismatch));
  EXPECT_TRUE(plan_repair(dir / "in", {}).empty());
}

TEST(Repair, NamesScalesLikeTheirSiblings) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kNvfp4);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kNvfp4});
  const auto odd = std::ranges::find(tensors, "layers.1.attn.wq_a.weight_scale_inv", &Checkpoint::Listed::name);
  ASSERT_NE(odd, tensors.end());
  odd->name = "layers.1.attn.wq_a.weight_scale";
  synthetic::write_checkpoint(dir / "in", tensors, config, false);
  const Checkpoint before = Checkpoint::open(dir / "in");
  ASSERT_TRUE(check_path(dir / "in").has(Code::kInconsistentStorage));
  EXPECT_FALSE(repaired(dir / "in", dir / "out").has(Code::kInconsistentStorage));
  const Checkpoint after = Checkpoint::open(dir / "out");
  EXPECT_TRUE(after.find("layers.1.attn.wq_a.weight_scale") == nullptr);
  EXPECT_EQ(bytes_of(after, "layers.1.attn.wq_a.weight_scale_inv"),
            bytes_of(before, "layers.1.attn.wq_a.weight_scale"));
}

TEST(Repair, WidensWithoutAReference) {
  TempDir dir;
  const std::string config = synthetic::config_json("tiny", Family::kBf16);
  auto tensors = synthetic::tensor_list(read_config(config).config, {.family = Family::kBf16});
  for (auto& t : tensors) {
    if (t.dtype == Dtype::kF32) t.dtype = Dtype::kBF16;
  }
  synthetic::write_checkpoint(dir / "in", tensors, config, false);
  const RepairPlan plan = plan_repair(dir / "in", {});
  EXPECT_THAT(plan.actions[0].what, HasSubstr("--reference"));
  const CheckReport after = carry_out(plan, dir / "in", std::nullopt);
  EXPECT_FALSE(after.has(Code::kFp32Downcast));
}

TEST(Repair, AChangedSourceIsAnErrorAndNothingChanges) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  const RepairPlan plan = plan_repair(dir / "in", {});
  const fs::path shard = dir / "in" / "model-00002-of-00002.safetensors";
  std::fstream(shard, std::ios::in | std::ios::out | std::ios::binary).seekp(-1, std::ios::end).put('x');
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(2));
  EXPECT_THAT(error_message([&] { carry_out(plan, dir / "in", std::nullopt); }),
              HasSubstr("changed while it was read"));
  EXPECT_TRUE(Checkpoint::open(dir / "in").find("mtp.0.head.weight") == nullptr);
  EXPECT_FALSE(fs::exists(dir / ".in.outrider"));
  EXPECT_THAT(error_message([&] { carry_out(plan, dir / "in", dir / "out"); }), HasSubstr("changed while it was read"));
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(Repair, FilesAddedMeanwhileAreNotLost) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  fs::create_directory(dir / "in" / "notes");
  const RepairPlan plan = plan_repair(dir / "in", {});
  const auto meanwhile = [&](const fs::path& file, const char* text) {
    return error_message([&] {
      carry_out(plan, dir / "in", std::nullopt, [&](std::uint64_t, std::uint64_t) { write_file(file, text); });
    });
  };
  EXPECT_THAT(meanwhile(dir / "in" / "notes" / "mine", "x"), HasSubstr("would be lost"));
  EXPECT_EQ(testing::read_file(dir / "in" / "notes" / "mine"), "x");
  EXPECT_THAT(meanwhile(dir / "in" / "config.json", "{}"), HasSubstr("changed while it was read"));
  EXPECT_EQ(testing::read_file(dir / "in" / "config.json"), "{}");
}

TEST(Repair, DoesNotOverwriteAFileWithTheNameOfANewOne) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  synthetic::write_checkpoint(dir / "other", {{"x", Dtype::kU8, {4}, "model-added-00001.safetensors"}}, "{}", false);
  fs::copy_file(dir / "other" / "model-added-00001.safetensors", dir / "in" / "model-added-00001.safetensors");
  RepairOptions options;
  options.only = {Code::kMtpSharesHead};
  const std::string stray = testing::read_file(dir / "in" / "model-added-00001.safetensors");
  repaired(dir / "in", std::nullopt, options);
  EXPECT_EQ(testing::read_file(dir / "in" / "model-added-00001.safetensors"), stray);
  EXPECT_TRUE(fs::exists(dir / "in" / "model-added-00002.safetensors"));
}

TEST(Repair, ATokenizerFromTheReferenceIsACopy) {
  TempDir dir;
  write_artifact_of(dir / "source", Family::kOfficial);
  write_artifact_of(dir / "in", Family::kOfficial);
  nlohmann::json tokenizer = {{"model", {{"vocab", {{"a", 0}}}}}, {"added_tokens", nlohmann::json::array()}};
  for (const char* token :
       {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    tokenizer["added_tokens"].push_back({{"id", tokenizer["added_tokens"].size() + 1}, {"content", token}});
  }
  write_file(dir / "source" / "tokenizer.json", tokenizer.dump());
  RepairOptions options;
  options.reference = dir / "source";
  options.only = {Code::kTokenizerMissing};
  repaired(dir / "in", dir / "out", options);
  EXPECT_EQ(testing::read_file(dir / "out" / "tokenizer.json"), testing::read_file(dir / "source" / "tokenizer.json"));
  EXPECT_FALSE(inode(dir / "out" / "tokenizer.json") == inode(dir / "source" / "tokenizer.json"));
}

TEST(Repair, SkipsDanglingLinks) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  fs::create_symlink("../../blobs/absent", dir / "in" / "notes.md");
  EXPECT_TRUE(repaired(dir / "in", dir / "out").plan != nullptr);
  EXPECT_FALSE(fs::exists(fs::symlink_status(dir / "out" / "notes.md")));
  repaired(dir / "in", std::nullopt);
  EXPECT_TRUE(fs::is_symlink(dir / "in" / "notes.md"));
}

TEST(Repair, ATruncatedSourceIsAnError) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial, 1);
  const RepairPlan plan = plan_repair(dir / "in", {});
  fs::resize_file(dir / "in" / plan.artifact.checkpoint->files()[0].name, 4096);
  EXPECT_NE(error_message([&] { carry_out(plan, dir / "in", dir / "out"); }), "no error");
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(Repair, RejectsAnExistingOutput) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  fs::create_directory(dir / "out");
  write_file(dir / "out" / "precious", "x");
  EXPECT_THAT(error_message([&] { repaired(dir / "in", dir / "out"); }), HasSubstr("already exists"));
  EXPECT_EQ(testing::read_file(dir / "out" / "precious"), "x");
}

TEST(Repair, RejectsAnOutputInsideTheArtifact) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  fs::create_directory_symlink("in", dir / "link");
  for (const char* place : {"in/out", "in/a/b", "link/out", "in/../in/out"}) {
    EXPECT_THAT(error_message([&] { repaired(dir / "in", dir / place); }), HasSubstr("is inside")) << place;
  }
  EXPECT_FALSE(fs::exists(dir / "in" / "a"));
  EXPECT_TRUE(repaired(dir / "in", dir / "in-repaired").plan != nullptr);
}

TEST(Repair, RejectsAnIncompleteReference) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  write_artifact_of(dir / "source", Family::kOfficial);
  fs::remove(dir / "source" / "model-00002-of-00002.safetensors");
  RepairOptions options;
  options.reference = dir / "source";
  EXPECT_THAT(error_message([&] { plan_repair(dir / "in", options); }), HasSubstr("incomplete"));
}

TEST(Repair, AddsAStrayFileOfCopiesToTheIndex) {
  TempDir dir;
  write_artifact_of(dir / "in", Family::kOfficial);
  repaired(dir / "in", std::nullopt);
  // The result of a script that adds the copies but not their index entries.
  nlohmann::json index = nlohmann::json::parse(testing::read_file(dir / "in" / "model.safetensors.index.json"));
  std::string shard;
  for (const char* name : {"mtp.0.head.weight", "mtp.0.emb.tok_emb.weight"}) {
    shard = index["weight_map"][name];
    index["weight_map"].erase(name);
  }
  write_file(dir / "in" / "model.safetensors.index.json", index.dump());
  const CheckReport after = repaired(dir / "in", std::nullopt);
  EXPECT_FALSE(after.has(Code::kStrayFile));
  EXPECT_EQ(after.drafter.own_heads, 1U);
  EXPECT_EQ(after.checkpoint->files().size(), 3U);
}

}  // namespace
}  // namespace outrider
