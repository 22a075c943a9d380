#include "outrider/artifact/quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <stdexcept>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using synthetic::Family;
using testing::error_message;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::write_file;

void write_source(const fs::path& directory, Family family) {
  synthetic::write_tiny_checkpoint(directory, {.family = family, .shards = 2});
}

QuantizeOptions with(const std::string& recipe, unsigned threads = 2, std::uint64_t shard = 5'000'000'000) {
  QuantizeOptions options;
  options.recipe = read_recipe(recipe);
  options.threads = threads;
  options.max_shard_bytes = shard;
  return options;
}

std::map<std::string, std::string> files_of(const fs::path& directory) {
  std::map<std::string, std::string> out;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    out[entry.path().filename().string()] = testing::read_file(entry.path());
  }
  return out;
}

// Sets the first value of a BF16 tensor to two bytes.
void set_first_value(const fs::path& directory, const std::string& tensor, std::string_view bytes) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const TensorInfo* t = checkpoint.find(tensor);
  const ShardFile& file = checkpoint.files()[t->file];
  std::fstream stream(file.path, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(file.data_start + t->begin));
  stream.write(bytes.data(), 2);
}

TEST(Quantize, DropsDescriptionsOfTheSource) {
  TempDir dir;
  write_source(dir / "in", Family::kModelopt);
  write_file(dir / "in" / "hf_quant_config.json", R"({"quantization": {"quant_algo": "NVFP4"}})");
  write_file(dir / "in" / "quant_model_description.json", "{}");
  write_file(dir / "in" / "README.md", "kept");
  quantize(dir / "in", dir / "out", with("w4a16-fp8"));
  EXPECT_FALSE(fs::exists(dir / "out" / "hf_quant_config.json"));
  EXPECT_FALSE(fs::exists(dir / "out" / "quant_model_description.json"));
  EXPECT_TRUE(fs::exists(dir / "out" / "README.md"));
  EXPECT_FALSE(check_path(dir / "out").has(Code::kQuantizationConfigMismatch));
}

class EveryRecipe : public ::testing::TestWithParam<std::tuple<std::string, Family>> {};

TEST_P(EveryRecipe, IsSoundWithTheMtpBlockInBf16AndItsOwnHead) {
  const auto& [recipe, family] = GetParam();
  TempDir dir;
  write_source(dir / "in", family);
  const QuantizeResult made = quantize(dir / "in", dir / "out", with(recipe));
  EXPECT_TRUE(made.report.plan != nullptr);
  CheckOptions data;
  data.data = true;
  const CheckReport report = check_path(dir / "out", data);
  for (const Finding& f : report.findings) {
    EXPECT_LT(f.kind().severity, Severity::kWarning) << f.kind().code << " " << f.message;
  }
  EXPECT_EQ(report.drafter.own_heads, 1U);
  EXPECT_EQ(report.checkpoint->find("mtp.0.head.weight")->dtype, Dtype::kF32);
  EXPECT_EQ(report.checkpoint->find("mtp.0.ffn.experts.0.w1.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(report.checkpoint->find("mtp.0.e_proj.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(report.checkpoint->find("layers.2.attn.compressor.wkv.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(report.checkpoint->find("layers.2.attn.attn_sink")->dtype, Dtype::kF32);
}

INSTANTIATE_TEST_SUITE_P(Quantize, EveryRecipe,
                         ::testing::Combine(::testing::Values("w4a16-fp8", "nvfp4-fp8", "mxfp4-fp8", "fp8", "bf16"),
                                            ::testing::Values(Family::kOfficial, Family::kBf16, Family::kNvfp4)));

TEST(Quantize, UsesTheNamesOfPublishedArtifacts) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  quantize(dir / "in", dir / "w4", with("w4a16-fp8"));
  const Checkpoint w4 = Checkpoint::open(dir / "w4");
  EXPECT_EQ(w4.find("layers.3.ffn.experts.0.w1.weight_packed")->dtype, Dtype::kI32);
  EXPECT_EQ(w4.find("layers.3.ffn.experts.0.w1.weight_scale")->dtype, Dtype::kBF16);
  EXPECT_EQ(w4.find("layers.3.ffn.experts.0.w1.weight_shape")->dtype, Dtype::kI64);
  EXPECT_EQ(w4.find("layers.3.attn.wq_a.weight_scale")->dtype, Dtype::kBF16);
  EXPECT_EQ(w4.find("layers.3.ffn.shared_experts.w1.weight")->dtype, Dtype::kBF16);
  quantize(dir / "in", dir / "nv", with("nvfp4-fp8"));
  const Checkpoint nv = Checkpoint::open(dir / "nv");
  EXPECT_EQ(nv.find("layers.3.ffn.experts.0.w1.weight_packed")->dtype, Dtype::kU8);
  EXPECT_EQ(nv.find("layers.3.ffn.experts.0.w1.weight_global_scale")->dtype, Dtype::kF32);
  EXPECT_EQ(nv.find("layers.3.attn.wq_a.weight_scale_inv")->dtype, Dtype::kF32);
  quantize(dir / "in", dir / "mx", with("mxfp4-fp8"));
  const Checkpoint mx = Checkpoint::open(dir / "mx");
  EXPECT_EQ(mx.find("layers.3.ffn.experts.0.w1.weight")->dtype, Dtype::kI8);
  EXPECT_EQ(mx.find("layers.3.ffn.experts.0.w1.scale")->dtype, Dtype::kF8E8M0);
}

float read_float(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.find(name);
  float out = 0;
  const ShardFile& file = checkpoint.files()[tensor->file];
  FileReader(file.path).read(file.data_start + tensor->begin, std::as_writable_bytes(std::span(&out, 1)));
  return out;
}

TEST(Quantize, Nvfp4HasOneGlobalScaleForFusedHalves) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  const std::array<std::string, 2> modules = {"layers.1.ffn.experts.2", "layers.2.ffn.shared_experts"};
  for (const std::string& module : modules) set_first_value(dir / "in", module + ".w3.weight", "\x80\x40");  // 4
  write_file(dir / "recipe.json", R"({"base": "nvfp4-fp8", "shared_experts": "nvfp4"})");
  quantize(dir / "in", dir / "out", with((dir / "recipe.json").string()));
  const Checkpoint out = Checkpoint::open(dir / "out");
  for (const std::string& module : modules) {
    const float w1 = read_float(out, module + ".w1.weight_global_scale");
    EXPECT_EQ(w1, read_float(out, module + ".w3.weight_global_scale")) << module;
    EXPECT_NE(w1, read_float(out, module + ".w2.weight_global_scale")) << module;
  }
}

TEST(Quantize, ConvertsTheInferenceConfigToTransformersFormat) {
  TempDir dir;
  const std::string inference = synthetic::inference_config_json();
  const auto tensors = synthetic::tensor_list(read_config(inference).config, {.family = Family::kBf16});
  synthetic::write_checkpoint(dir / "in", tensors, inference, false);
  quantize(dir / "in", dir / "out", with("w4a16-fp8"));
  const ConfigReading made = read_config(testing::read_file(dir / "out" / "config.json"));
  EXPECT_EQ(made.spelling, ConfigSpelling::kHuggingFace);
  EXPECT_TRUE(made.sound());
}

TEST(Quantize, ARequantisedReleaseIsUnchanged) {
  TempDir dir;
  write_source(dir / "in", Family::kOfficial);
  const QuantizeResult made = quantize(dir / "in", dir / "out", with("mxfp4-fp8"));
  ASSERT_FALSE(made.errors.empty());
  for (const GroupError& e : made.errors) EXPECT_LT(e.worst, 2e-3) << e.worst_name;
}

TEST(Quantize, ResultDoesNotDependOnThreads) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  quantize(dir / "in", dir / "one", with("nvfp4-fp8", 1));
  quantize(dir / "in", dir / "three", with("nvfp4-fp8", 3));
  EXPECT_TRUE(files_of(dir / "one") == files_of(dir / "three"));
}

TEST(Quantize, AnInterruptedRunIsResumed) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  write_file(dir / "in" / "tokenizer.json", "{}");
  const QuantizeOptions options = with("w4a16-fp8", 2, 400'000);
  quantize(dir / "in", dir / "whole", options);
  const auto interrupt = [](std::uint64_t done, std::uint64_t total) {
    if (done > total / 2) throw std::runtime_error("interrupted");
  };
  EXPECT_THROW(quantize(dir / "in", dir / "out", options, interrupt), std::runtime_error);
  EXPECT_FALSE(fs::exists(dir / "out"));
  ASSERT_TRUE(fs::exists(dir / ".out.outrider"));
  std::size_t finished = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir / ".out.outrider")) {
    finished += entry.path().extension() == ".safetensors";
  }
  EXPECT_GT(finished, 1U);
  // A partial file, as a killed run leaves it.
  write_file(dir / ".out.outrider" / "tokenizer.json", "{");
  write_file(dir / ".out.outrider" / ".model-00001.unfinished", "{");
  const QuantizeResult made = quantize(dir / "in", dir / "out", options);
  EXPECT_TRUE(made.resumed);
  EXPECT_TRUE(files_of(dir / "whole") == files_of(dir / "out"));
  EXPECT_FALSE(fs::exists(dir / ".out.outrider"));
}

TEST(Quantize, DoesNotResumeARunOfAnotherRecipe) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  const auto interrupt = [](std::uint64_t done, std::uint64_t total) {
    if (done > total / 2) throw std::runtime_error("interrupted");
  };
  EXPECT_THROW(quantize(dir / "in", dir / "out", with("fp8", 2, 400'000), interrupt), std::runtime_error);
  const QuantizeResult made = quantize(dir / "in", dir / "out", with("w4a16-fp8", 2, 400'000));
  EXPECT_FALSE(made.resumed);
  EXPECT_TRUE(made.report.plan != nullptr);
}

TEST(Quantize, AppliesMtpAndAliasOptions) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  QuantizeOptions options = with("w4a16-fp8");
  options.recipe.quantise_mtp = true;
  options.recipe.aliases = false;
  const QuantizeResult made = quantize(dir / "in", dir / "out", options);
  EXPECT_TRUE(made.report.has(Code::kMtpQuantised));
  EXPECT_TRUE(made.report.has(Code::kMtpSharesHead));
  EXPECT_EQ(made.report.exit_status(), 0);
}

TEST(Quantize, ReadsARecipeFile) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  write_file(dir / "recipe.json",
             R"({"base": "w4a16-fp8", "group_size": 32, "shared_experts": "fp8", "attention": "bf16"})");
  const QuantizeResult made = quantize(dir / "in", dir / "out", with((dir / "recipe.json").string()));
  EXPECT_EQ(made.report.count(Severity::kWarning), 0U);
  const Checkpoint out = Checkpoint::open(dir / "out");
  const TensorInfo* scale = out.find("layers.0.ffn.experts.0.w1.weight_scale");
  EXPECT_EQ(scale->shape[1], read_config(out.config_json()).config.hidden_size / 32);
  EXPECT_EQ(out.find("layers.0.attn.wq_a.weight")->dtype, Dtype::kBF16);
  EXPECT_EQ(out.find("layers.0.ffn.shared_experts.w1.weight")->dtype, Dtype::kF8E4M3);
}

TEST(Quantize, RejectsInvalidRecipes) {
  TempDir dir;
  EXPECT_THAT(error_message([] { read_recipe("w4a17"); }), HasSubstr("neither a recipe"));
  const auto refused = [&](const char* text) {
    write_file(dir / "recipe.json", text);
    return error_message([&] { read_recipe((dir / "recipe.json").string()); });
  };
  EXPECT_THAT(refused("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refused(R"({"base": "x"})"), HasSubstr("which is not a recipe"));
  EXPECT_THAT(refused(R"({"experts": "int3"})"), HasSubstr("supported are"));
  EXPECT_THAT(refused(R"({"expert": "fp8"})"), HasSubstr("unknown field"));
  EXPECT_THAT(refused(R"({"group_size": -1})"), HasSubstr("must be an integer"));
  EXPECT_THAT(refused(R"({"mtp": "maybe"})"), HasSubstr("must be"));
}

TEST(Quantize, RejectsValuesThatAreNotNumbers) {
  TempDir dir;
  write_source(dir / "in", Family::kBf16);
  set_first_value(dir / "in", "layers.1.ffn.experts.2.w2.weight", "\xc0\x7f");
  EXPECT_THAT(error_message([&] { quantize(dir / "in", dir / "out", with("fp8")); }),
              HasSubstr("layers.1.ffn.experts.2.w2.weight"));
}

}  // namespace
}  // namespace outrider
