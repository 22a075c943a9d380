// Every row of the catalogue of faulty artifacts, and every other finding: builds an artifact with the fault.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <tuple>
#include <type_traits>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/binding/weights.h"
#include "outrider/check/check.h"
#include "outrider/check/report.h"
#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/testing/unaligned_file.h"

namespace outrider {
namespace {

using synthetic::Family;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;
using testing::write_file;
using Tensors = std::vector<Checkpoint::Listed>;

// A tiny artifact that tests modify.
struct Artifact {
  nlohmann::json config;
  Tensors tensors;

  Checkpoint::Listed& operator[](const std::string& name) {
    const auto it = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
    EXPECT_NE(it, tensors.end()) << name;
    return *it;
  }
  void remove(const std::function<bool(const std::string&)>& which) {
    EXPECT_GT(std::erase_if(tensors, [&](const auto& t) { return which(t.name); }), 0U);
  }
  void remove(const std::string& name) {
    remove([&](const std::string& n) { return n == name; });
  }
  CheckReport check() const {
    return check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::from_listing(tensors, config.dump())));
  }
  void write(const std::filesystem::path& directory) const {
    synthetic::write_checkpoint(directory, tensors, config.dump(), false);
  }
};

Artifact artifact(Family family = Family::kOfficial, bool aliases = false, const std::string& shape = "tiny",
                  std::uint32_t shards = 1) {
  Artifact out;
  const std::string config = synthetic::config_json(shape, family);
  out.config = nlohmann::json::parse(config);
  synthetic::SyntheticOptions options;
  options.family = family;
  options.mtp_aliases = aliases;
  options.shards = shards;
  out.tensors = synthetic::tensor_list(read_config(config).config, options);
  return out;
}

const Finding* find(const CheckReport& report, Code code) {
  const auto it =
      std::find_if(report.findings.begin(), report.findings.end(), [&](const Finding& f) { return f.id == code; });
  return it == report.findings.end() ? nullptr : &*it;
}

std::string all(const CheckReport& report) {
  std::string out;
  for (const Finding& f : report.findings) out += std::string(f.kind().code) + " " + f.message + "\n";
  return out;
}

// Expects the finding, its effect on the exit status, and the tensor among its names.
void expect(const CheckReport& report, Code code, int exit_status, const std::string& tensor = "") {
  const Finding* f = find(report, code);
  ASSERT_NE(f, nullptr) << finding_kind(code).code << " is not among\n" << all(report);
  EXPECT_EQ(report.exit_status(), exit_status) << all(report);
  EXPECT_FALSE(f->message.empty());
  if (tensor.empty()) return;
  bool named = f->message.find(tensor) != std::string::npos;
  for (const TensorPattern& p : f->tensors) {
    named = named || p.pattern.find(tensor) != std::string::npos;
    for (const std::string& e : p.examples) named = named || e == tensor;
  }
  EXPECT_TRUE(named) << tensor << " is not named by\n" << all(report);
}

void patch(const std::filesystem::path& directory, const std::string& tensor,
           const std::function<void(std::span<std::byte>)>& change) {
  const Checkpoint c = Checkpoint::open(directory);
  const TensorInfo* t = c.find(tensor);
  ASSERT_NE(t, nullptr) << tensor;
  const ShardFile& file = c.files()[t->file];
  std::string bytes = testing::read_file(file.path);
  change(std::as_writable_bytes(std::span(bytes)).subspan(file.data_start + t->begin, t->bytes()));
  write_file(file.path, bytes);
}

// Copies a BF16 tensor with different low bits to another tensor of BF16 or F32, as further training would change it.
void train(const std::filesystem::path& directory, const std::string& from, const std::string& to) {
  std::string values;
  patch(directory, from,
        [&](std::span<std::byte> bytes) { values.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size()); });
  patch(directory, to, [&](std::span<std::byte> bytes) {
    const std::size_t size = bytes.size() / (values.size() / 2);
    std::ranges::fill(bytes, std::byte{0});
    for (std::size_t i = 0; i < values.size() / 2; ++i) {
      bytes[i * size + size - 2] = static_cast<std::byte>(values[2 * i] ^ (i % 3 == 0 ? 2 : 0));
      bytes[i * size + size - 1] = static_cast<std::byte>(values[2 * i + 1]);
    }
  });
}

CheckReport check_data(const std::filesystem::path& directory) {
  CheckOptions options;
  options.data = true;
  return check_path(directory, options);
}

TEST(Findings, ASoundArtifactHasNoErrorsOrWarnings) {
  for (const Family family : {Family::kOfficial, Family::kBf16, Family::kNvfp4, Family::kModelopt, Family::kFp8,
                              Family::kHuggingFace, Family::kDspark}) {
    for (const char* shape : {"tiny", "pro-tiny"}) {
      const CheckReport report = artifact(family, false, shape).check();
      EXPECT_EQ(report.exit_status(true), 0) << shape << static_cast<int>(family) << "\n" << all(report);
      EXPECT_NE(report.plan, nullptr);
    }
  }
}

// Row 1.
TEST(Findings, MtpHeadOnlyAtTheTopLevel) {
  expect(artifact(Family::kBf16).check(), Code::kMtpSharesHead, 0, "mtp.0.head.weight");
  const CheckReport with = artifact(Family::kBf16, true).check();
  EXPECT_EQ(find(with, Code::kMtpSharesHead), nullptr);
  EXPECT_EQ(with.drafter.own_heads, 1U);
  EXPECT_EQ(with.drafter.own_embeddings, 1U);
  Artifact embed_only = artifact(Family::kBf16, true);
  embed_only["mtp.0.emb.tok_emb.weight"].name = "mtp.0.embed.weight";
  embed_only.remove("mtp.0.head.weight");
  const CheckReport report = embed_only.check();
  expect(report, Code::kMtpSharesHead, 0, "mtp.0.head.weight");
  EXPECT_EQ(report.drafter.own_embeddings, 1U);
}

// Row 2.
TEST(Findings, Fp32Downcast) {
  Artifact a = artifact();
  const Manifest manifest(read_config(a.config.dump()).config, DrafterKind::kMtp, 1);
  for (auto& t : a.tensors) {
    const TensorName name = parse_tensor_name(t.name, 6, false);
    if (manifest.spec(name.slot).storage == Storage::kFloat32) t.dtype = Dtype::kBF16;
  }
  const CheckReport report = a.check();
  expect(report, Code::kFp32Downcast, 0, "hc_head_fn");
  EXPECT_EQ(report.exit_status(true), 1);
}

// Row 3.
TEST(Findings, MtpQuantised) {
  Artifact a = artifact(Family::kW4A16);
  Artifact quantised = a;
  quantised.remove([](const std::string& n) { return n == "mtp.0.ffn.experts.1.w2.weight"; });
  quantised.tensors.push_back({"mtp.0.ffn.experts.1.w2.weight_packed", Dtype::kI32, {256, 16}});
  quantised.tensors.push_back({"mtp.0.ffn.experts.1.w2.weight_scale", Dtype::kBF16, {256, 1}});
  quantised.tensors.push_back({"mtp.0.ffn.experts.1.w2.weight_shape", Dtype::kI64, {2}});
  expect(quantised.check(), Code::kMtpQuantised, 0, "mtp.0.ffn.experts.1.w2.weight_packed");
  EXPECT_EQ(find(a.check(), Code::kMtpQuantised), nullptr);
}

// Row 4.
TEST(Findings, MtpBlockWithAnotherLayerType) {
  Artifact a = artifact();
  a.tensors.push_back({"mtp.0.attn.compressor.wkv.weight", Dtype::kBF16, {128, 256}});
  a.tensors.push_back({"mtp.0.attn.indexer.weights_proj.weight", Dtype::kBF16, {4, 256}});
  expect(a.check(), Code::kMtpWrongLayerType, 1, "mtp.0.attn.compressor.wkv.weight");
}

TEST(Findings, HalfRenamedMtp) {
  Artifact a = artifact(Family::kBf16);
  a["mtp.0.attn.wq_a.weight"].name = "mtp.0.self_attn.wq_a.weight";
  a["mtp.0.attn_norm.weight"].name = "mtp.0.input_layernorm.weight";
  const CheckReport report = a.check();
  expect(report, Code::kMixedNaming, 0, "mtp.0.self_attn.wq_a.weight");
  expect(report, Code::kMixedNaming, 0, "mtp.0.input_layernorm.weight");
  EXPECT_NE(report.plan, nullptr);
}

// Row 5.
TEST(Findings, QuantizationTargetsInTheOtherDialect) {
  Artifact a = artifact(Family::kW4A16);
  EXPECT_EQ(find(a.check(), Code::kQuantizationConfigMismatch), nullptr) << all(a.check());
  a.config["quantization_config"]["config_groups"]["group_0"]["targets"] = {
      R"(re:.*mlp\.experts\.\d+\.(gate|up|down)_proj$)"};
  const CheckReport report = a.check();
  expect(report, Code::kQuantizationConfigMismatch, 0, "ffn.experts.0.w1.weight_packed");
  EXPECT_THAT(all(report), HasSubstr("other dialect"));
  EXPECT_THAT(all(report), HasSubstr("match no module"));
  a.config["quantization_config"]["config_groups"]["group_0"]["targets"] = {"re:((((a*)*)*)*)*$b", "re:("};
  EXPECT_THAT(all(a.check()), HasSubstr("not a valid regular expression"));
  Artifact none = artifact(Family::kOfficial);
  none.config.erase("quantization_config");
  expect(none.check(), Code::kQuantizationConfigMismatch, 0);
  Artifact plain = artifact(Family::kBf16);
  plain.config["quantization_config"] = {{"quant_method", "fp8"}};
  expect(plain.check(), Code::kQuantizationConfigMismatch, 0);
  Artifact group = artifact(Family::kW4A16);
  group.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 64;
  expect(group.check(), Code::kQuantizationConfigMismatch, 0, "layers.0.ffn.experts.0.w1.weight_scale");
}

// NVIDIA's description of NVFP4 experts beside an MTP block as released.
Artifact nvidia_nvfp4() {
  Artifact out = artifact(Family::kModelopt);
  out.config["expert_dtype"] = "fp4";
  nlohmann::json& q = out.config["quantization_config"];
  q["quant_method"] = "fp8";
  q["quant_algo"] = "MIXED_PRECISION";
  q["moe_quant_algo"] = "NVFP4";
  q["ignore"] = {"*.attn.*", "*.ffn.shared_experts.*", "head", "mtp.*"};
  q["config_groups"]["group_0"] = {{"targets", {"Linear"}},
                                   {"weights", {{"num_bits", 4}, {"type", "float"}, {"group_size", 16}}}};
  return out;
}

TEST(Findings, NvidiasDescriptionOfNvfp4) {
  Artifact a = nvidia_nvfp4();
  EXPECT_EQ(a.check().exit_status(true), 0) << all(a.check());
  nlohmann::json& q = a.config["quantization_config"];
  q["ignore"] = {"*.attn.*", "head"};
  const CheckReport draft = a.check();
  expect(draft, Code::kQuantizationConfigMismatch, 0, "mtp.0.ffn.experts.0.w1.weight");
  EXPECT_THAT(all(draft), HasSubstr("stored MXFP4, declared NVFP4"));
  EXPECT_THAT(std::string(find(draft, Code::kQuantizationConfigMismatch)->remedy_text()), HasSubstr("\"mtp.*\""));
  // Only the listed layers are NVFP4.
  for (int i = 0; i < 6; ++i)
    q["quantized_layers"][fmt::format("layers.{}.ffn.experts", i)] = {{"quant_algo", "NVFP4"}};
  EXPECT_EQ(a.check().exit_status(true), 0) << all(a.check());
  q["quantized_layers"].erase("layers.2.ffn.experts");
  expect(a.check(), Code::kQuantizationConfigMismatch, 0, "layers.2.ffn.experts.0.w1.weight");
}

TEST(Findings, ExpertsNotStoredAsDeclared) {
  Artifact a = artifact(Family::kOfficial);
  a.config["expert_dtype"] = "fp8";
  expect(a.check(), Code::kQuantizationConfigMismatch, 0, "layers.0.ffn.experts.0.w1.weight");
  a.config["expert_dtype"] = "fp4";
  EXPECT_EQ(find(a.check(), Code::kQuantizationConfigMismatch), nullptr) << all(a.check());
  // A drafter left in BF16, although the config declares FP8 and FP4.
  Artifact mixed = artifact(Family::kOfficial);
  mixed.remove([](const std::string& name) { return name.starts_with("mtp."); });
  for (const auto& t : artifact(Family::kBf16).tensors) {
    if (t.name.starts_with("mtp.")) mixed.tensors.push_back(t);
  }
  expect(mixed.check(), Code::kQuantizationConfigMismatch, 0, "mtp.0.attn.wq_a.weight");
  mixed.config["quantization_config"]["modules_to_not_convert"] = {"mtp.0"};
  EXPECT_EQ(find(mixed.check(), Code::kQuantizationConfigMismatch), nullptr) << all(mixed.check());
}

TEST(Findings, UnknownQuantMethod) {
  Artifact a = artifact(Family::kBf16);
  a.config["quantization_config"] = {{"quant_method", "residue-number-system"}};
  const CheckReport report = a.check();
  expect(report, Code::kQuantizationConfigMismatch, 0);
  EXPECT_THAT(all(report), HasSubstr("unknown"));
  EXPECT_THAT(std::string(find(report, Code::kQuantizationConfigMismatch)->remedy_text()), Not(HasSubstr("Remove")));
  a.config["quantization_config"] = {{"quant_method", "gptq"}};
  EXPECT_THAT(all(a.check()), HasSubstr("no weight is quantised"));
  Artifact fp8 = artifact(Family::kOfficial);
  fp8.config["quantization_config"]["quant_method"] = "awq";
  EXPECT_THAT(all(fp8.check()), HasSubstr("no weight is stored in that form"));
}

TEST(Findings, AForeignFormatIsOneFinding) {
  Artifact a = artifact(Family::kBf16);
  a.config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  for (auto& t : a.tensors) {
    if (t.name.find(".experts.") == std::string::npos) continue;
    t.name.replace(t.name.size() - 6, 6, "qweight");
    t.dtype = Dtype::kI32;
    t.shape = {t.shape[1] / 8, t.shape[0]};
  }
  const CheckReport report = a.check();
  expect(report, Code::kForeignFormat, 1, "layers.0.ffn.experts.0.w1.qweight");
  EXPECT_EQ(report.count(Severity::kError), 1U) << all(report);
  EXPECT_EQ(report.count(Severity::kWarning), 0U) << all(report);
  ASSERT_TRUE(report.foreign.has_value());
  EXPECT_EQ(report.plan, nullptr);
  EXPECT_THAT(report.family, HasSubstr("GPTQ"));
  EXPECT_THAT(report_text(report, 90, false, false), HasSubstr("UNSUPPORTED STORAGE FORM"));
}

TEST(Findings, ScalesOfTheKvCacheAreKnown) {
  Artifact a = artifact(Family::kOfficial);
  for (const char* name : {"layers.0.attn.k_scale", "layers.0.attn.wkv.output_scale", "mtp.0.attn.kv_scale",
                           "model.layers.1.self_attn.v_scale"}) {
    a.tensors.push_back({name, Dtype::kF32, {}});
  }
  const CheckReport report = a.check();
  EXPECT_EQ(report.exit_status(true), 0) << all(report);
  ASSERT_EQ(report.unused.size(), 1U);
  EXPECT_EQ(report.unused[0].first, TensorUse::kUnusedKvCacheScale);
  a.tensors.push_back({"layers.0.ffn.k_scale", Dtype::kF32, {}});
  expect(a.check(), Code::kUnknownTensor, 0, "layers.0.ffn.k_scale");
}

TEST(Findings, FilesThatDescribeADifferentQuantisation) {
  TempDir dir;
  const Artifact a = artifact(Family::kW4A16);
  a.write(dir.path());
  EXPECT_FALSE(check_path(dir.path()).has(Code::kStaleQuantizationFile));
  write_file(dir / "hf_quant_config.json", R"({"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["head"]}})");
  expect(check_path(dir.path()), Code::kStaleQuantizationFile, 0, "hf_quant_config.json");
  write_file(dir / "hf_quant_config.json", "{");
  expect(check_path(dir.path()), Code::kStaleQuantizationFile, 0, "hf_quant_config.json");
  std::filesystem::remove(dir / "hf_quant_config.json");
  write_file(dir / "quant_model_description.json", "{}");
  expect(check_path(dir.path()), Code::kStaleQuantizationFile, 0, "quant_model_description.json");

  TempDir sound;
  Artifact nvidia = nvidia_nvfp4();
  const std::string description =
      R"({"quantization": {"quant_algo": "MIXED_PRECISION", "moe_quant_algo": "NVFP4", "exclude_modules": ["mtp*"]}})";
  nvidia.write(sound.path());
  write_file(sound / "hf_quant_config.json", description);
  EXPECT_FALSE(check_path(sound.path()).has(Code::kStaleQuantizationFile)) << all(check_path(sound.path()));
  // Engines read it if config.json declares nothing.
  nvidia.config.erase("quantization_config");
  write_file(sound / "config.json", nvidia.config.dump());
  EXPECT_FALSE(check_path(sound.path()).has(Code::kQuantizationConfigMismatch));
}

// Row 6.
TEST(Findings, SpellingsOfScales) {
  Artifact u8 = artifact();
  for (auto& t : u8.tensors) {
    if (t.dtype == Dtype::kF8E8M0) t.dtype = Dtype::kU8;
  }
  const CheckReport as_bytes = u8.check();
  expect(as_bytes, Code::kScaleSpelling, 0, "layers.0.attn.wq_a.scale");
  EXPECT_NE(as_bytes.plan, nullptr);
  Artifact undeclared = artifact();
  undeclared.config["quantization_config"].erase("scale_fmt");
  expect(undeclared.check(), Code::kScaleFormatUndeclared, 0);
  Artifact mixed = artifact(Family::kNvfp4);
  mixed["layers.0.ffn.experts.0.w1.weight_global_scale"].shape = {1};
  mixed["layers.1.attn.wq_a.weight_scale_inv"].name = "layers.1.attn.wq_a.weight_scale";
  const CheckReport report = mixed.check();
  expect(report, Code::kInconsistentStorage, 0, "layers.0.ffn.experts.0.w1.weight_global_scale");
  expect(report, Code::kInconsistentStorage, 0, "layers.1.attn.wq_a.weight_scale");
  EXPECT_NE(report.plan, nullptr);
}

// Row 7.
TEST(Findings, MissingConfigFieldsAreListedTogetherWithTheTensorsValues) {
  Artifact a = artifact();
  for (const char* field : {"compress_ratios", "num_hash_layers", "rope_scaling", "num_nextn_predict_layers"})
    a.config.erase(field);
  const CheckReport report = a.check();
  expect(report, Code::kConfigFieldMissing, 1);
  const std::string message = find(report, Code::kConfigFieldMissing)->message;
  EXPECT_THAT(message, HasSubstr("compress_ratios [0, 0, 4, 128, 4, 128]"));
  EXPECT_THAT(message, HasSubstr("the tensors on disk say 2 (layers with gate.tid2eid)"));
  EXPECT_THAT(message, HasSubstr("rope_scaling"));
  EXPECT_THAT(message, HasSubstr("num_nextn_predict_layers (n_mtp_layers) is missing: the tensors on disk say 1"));
  // With the values from the tensors, the rest can still be checked.
  EXPECT_EQ(find(report, Code::kParameterMissing), nullptr);
  EXPECT_NE(report.binding, nullptr);
}

TEST(Findings, ConfigThatContradictsItselfOrTheTensors) {
  Artifact length = artifact();
  length.config["compress_ratios"] = {0, 0, 4};
  expect(length.check(), Code::kConfigContradiction, 1);
  Artifact both = artifact();
  both.config["dim"] = 128;
  expect(both.check(), Code::kConfigContradiction, 1);
  Artifact ratio = artifact();
  ratio.config["compress_ratios"] = {0, 4, 4, 128, 4, 128, 0};
  expect(ratio.check(), Code::kParameterMissing, 1, "layers.1.attn.compressor.wkv.weight");
  Artifact window = artifact();
  window.config["compress_ratios"] = {0, 0, 0, 128, 4, 128, 0};
  const CheckReport report = window.check();
  expect(report, Code::kConfigContradiction, 1, "compress_ratios[2]");
  Artifact nextn = artifact();
  nextn.config["num_nextn_predict_layers"] = 0;
  nextn.config["compress_ratios"] = {0, 0, 4, 128, 4, 128};
  expect(nextn.check(), Code::kConfigContradiction, 1, "mtp.0.enorm.weight");
  Artifact layers = artifact();
  layers.config["num_hidden_layers"] = 5;
  expect(layers.check(), Code::kConfigContradiction, 1);
  Artifact head = artifact();
  head.config["rope_scaling"]["type"] = "linear";
  expect(head.check(), Code::kConfigContradiction, 1);
}

TEST(Findings, TheHuggingFaceSpellingIsEquivalent) {
  Artifact a = artifact(Family::kHuggingFace);
  for (const char* field : {"compress_ratios", "num_hash_layers", "rope_scaling", "qk_rope_head_dim", "rope_theta",
                            "compress_rope_theta"}) {
    a.config.erase(field);
  }
  const std::string s = "sliding_attention";
  const std::string c = "compressed_sparse_attention";
  const std::string h = "heavily_compressed_attention";
  a.config["layer_types"] = {s, s, c, h, c, h};
  a.config["compress_rates"] = {{c, 4}, {h, 128}};
  a.config["mlp_layer_types"] = {"hash_moe", "hash_moe", "moe", "moe", "moe", "moe"};
  a.config["partial_rotary_factor"] = 0.25;
  a.config["rope_parameters"] = {
      {"main", {{"rope_theta", 10000.0}}},
      {"compress",
       {{"rope_theta", 160000.0}, {"rope_type", "yarn"}, {"factor", 16}, {"original_max_position_embeddings", 65536}}}};
  const CheckReport report = a.check();
  EXPECT_EQ(report.exit_status(true), 0) << all(report);
  EXPECT_THAT(report.dialect, HasSubstr("Hugging Face, with the prefix model., stacked experts"));
  EXPECT_THAT(report.family, HasSubstr("save_pretrained"));
  EXPECT_EQ(report.config->config.qk_rope_head_dim, 16U);
}

// Row 8.
TEST(Findings, MtpDropped) {
  Artifact a = artifact();
  a.remove([](const std::string& n) { return n.starts_with("mtp."); });
  const CheckReport report = a.check();
  expect(report, Code::kMtpDropped, 0);
  EXPECT_NE(report.plan, nullptr);
}

// Row 9.
TEST(Findings, DsparkDrafter) {
  Artifact a = artifact(Family::kDspark);
  const CheckReport report = a.check();
  expect(report, Code::kDsparkDrafter, 0);
  EXPECT_EQ(report.drafter.blocks, 3U);
  ASSERT_NE(report.plan, nullptr);
  EXPECT_EQ(report.plan->manifest().drafter(), DrafterKind::kDspark);
  a.remove("mtp.2.markov_head.markov_w1.weight");
  expect(a.check(), Code::kParameterMissing, 1, "mtp.2.markov_head.markov_w1.weight");
  Artifact both = artifact(Family::kDspark);
  both.tensors.push_back({"mtp.0.enorm.weight", Dtype::kBF16, {256}});
  expect(both.check(), Code::kConfigContradiction, 1);
}

// Row 10.
TEST(Findings, AliasThatDiffers) {
  TempDir dir;
  Artifact a = artifact(Family::kBf16, true);
  a["mtp.0.head.weight"].dtype = Dtype::kF32;  // as in repaired artifacts; values are compared after widening
  a.write(dir.path());
  patch(dir.path(), "mtp.0.head.weight", [&](std::span<std::byte> wide) {
    const Checkpoint c = Checkpoint::open(dir.path());
    const TensorInfo* head = c.find("head.weight");
    const std::string bytes = testing::read_file(c.files()[0].path);
    for (std::size_t i = 0; i < head->bytes() / 2; ++i) {
      wide[4 * i] = wide[4 * i + 1] = std::byte{0};
      std::memcpy(&wide[4 * i + 2], bytes.data() + c.files()[0].data_start + head->begin + 2 * i, 2);
    }
  });
  EXPECT_EQ(find(check_data(dir.path()), Code::kAliasDiffers), nullptr);
  patch(dir.path(), "mtp.0.head.weight", [](std::span<std::byte> bytes) { bytes[7] ^= std::byte{1}; });
  const CheckReport report = check_data(dir.path());
  expect(report, Code::kAliasDiffers, 0, "mtp.0.head.weight");
  EXPECT_THAT(find(report, Code::kAliasDiffers)->message,
              AllOf(HasSubstr("in 1 of"), HasSubstr("relative error"), HasSubstr("largest difference")));
  // A dead head is not the result of training.
  patch(dir.path(), "mtp.0.head.weight", [](std::span<std::byte> bytes) { std::ranges::fill(bytes, std::byte{0}); });
  expect(check_data(dir.path()), Code::kAllZero, 1, "mtp.0.head.weight");
}

// The drafting block's own head and embedding are used, in whatever order files contain them and the model's.
TEST(Findings, OwnHeadsWinInAnyOrderOfFiles) {
  for (const Family family : {Family::kBf16, Family::kDspark}) {
    const bool dspark = family == Family::kDspark;
    const std::string own_embed = dspark ? "mtp.0.embed.weight" : "mtp.0.emb.tok_emb.weight";
    const std::string own_head = dspark ? "mtp.2.head.weight" : "mtp.0.head.weight";
    for (int order = 0; order < 4; ++order) {
      Artifact a = artifact(family, !dspark);
      if (dspark) {
        a.tensors.push_back({own_embed, Dtype::kBF16, {128, 256}});
        a.tensors.push_back({own_head, Dtype::kBF16, {128, 256}});
      }
      if (order % 2 == 1) std::ranges::reverse(a.tensors);
      for (auto& t : a.tensors) t.file = "model-00002-of-00003.safetensors";
      const bool first = order / 2 == 0;
      for (const std::string& name : {own_embed, own_head}) {
        a[name].file = first ? "model-00001-of-00003.safetensors" : "model-00003-of-00003.safetensors";
      }
      TempDir dir;
      a.write(dir.path());
      if (dspark) train(dir.path(), "embed.weight", own_embed);
      const CheckReport report = check_data(dir.path());
      ASSERT_NE(report.plan, nullptr) << all(report);
      EXPECT_EQ(report.exit_status(true), 0) << all(report);
      EXPECT_EQ(report.drafter.own_heads, 1U);
      EXPECT_EQ(report.drafter.own_embeddings, 1U);
      const Manifest& manifest = report.plan->manifest();
      const BlockKind kind = dspark ? BlockKind::kDspark : BlockKind::kMtp;
      for (const auto& [name, slot, stage] :
           {std::tuple(own_embed, Slot::kEmbed, 0U), {own_head, Slot::kHead, dspark ? 2U : 0U}}) {
        const auto p = manifest.find({kind, stage}, slot);
        ASSERT_TRUE(p);
        const Binding& b = report.plan->binding(*p);
        EXPECT_FALSE(b.shared);
        EXPECT_EQ(report.binding->stored_name(*b.tensor(Component::kWeight)), name);
      }
    }
  }
}

// What other engines and tools have done to DSpark drafters.
TEST(Findings, DsparkDrafterThatBroke) {
  for (const int announced : {0, 1, 3, 7}) {
    Artifact a = artifact(Family::kDspark);
    a.config["num_nextn_predict_layers"] = announced;
    const CheckReport report = a.check();
    EXPECT_EQ(report.exit_status(true), 0) << all(report);
    EXPECT_EQ(report.drafter.blocks, 3U);
  }
  {
    SCOPED_TRACE("a rule for the experts' w1 renames markov_w1 too");
    Artifact a = artifact(Family::kDspark);
    for (auto& t : a.tensors) {
      const std::size_t at = t.name.find("w1.weight");
      if (t.name.starts_with("mtp.") && at != std::string::npos) t.name.replace(at, 2, "gate_proj");
    }
    const CheckReport report = a.check();
    expect(report, Code::kParameterMissing, 1, "mtp.2.markov_head.markov_w1.weight");
  }
  {
    SCOPED_TRACE("the shared experts are dropped");
    Artifact a = artifact(Family::kDspark);
    a.remove([](const std::string& n) { return n.starts_with("mtp.") && n.find("shared_experts") != n.npos; });
    expect(a.check(), Code::kParameterMissing, 1, "mtp.1.ffn.shared_experts.w3.weight");
  }
  {
    SCOPED_TRACE("only dspark_* is left");
    Artifact a = artifact(Family::kDspark);
    a.remove([](const std::string& n) { return n.starts_with("mtp."); });
    const CheckReport report = a.check();
    expect(report, Code::kMtpDropped, 0);
    EXPECT_NE(report.plan, nullptr);
  }
  {
    SCOPED_TRACE("only the tensors are left");
    Artifact a = artifact(Family::kDspark);
    for (const char* field :
         {"dspark_block_size", "dspark_markov_rank", "dspark_noise_token_id", "dspark_target_layer_ids"})
      a.config.erase(field);
    expect(a.check(), Code::kConfigFieldMissing, 1, "dspark_markov_rank");
  }
  {
    SCOPED_TRACE("a stage is missing");
    Artifact a = artifact(Family::kDspark);
    a.remove([](const std::string& n) { return n.starts_with("mtp.1."); });
    expect(a.check(), Code::kParameterMissing, 1, "mtp.1.attn.wq_a.weight");
    a.remove([](const std::string& n) { return n.starts_with("mtp.2."); });
    const CheckReport report = a.check();
    expect(report, Code::kParameterMissing, 1, "markov_head.markov_w1.weight");
  }
  {
    SCOPED_TRACE("main_proj without its scales, and as BF16");
    Artifact a = artifact(Family::kDspark);
    a.remove("mtp.0.main_proj.scale");
    EXPECT_EQ(a.check().exit_status(), 1);
    a["mtp.0.main_proj.weight"].dtype = Dtype::kBF16;
    const CheckReport report = a.check();
    EXPECT_EQ(report.exit_status(), 0) << all(report);
    EXPECT_NE(report.plan, nullptr);
  }
  {
    SCOPED_TRACE("pruned otherwise than the layers");
    Artifact a = artifact(Family::kDspark);
    a.remove([](const std::string& n) {
      return n.starts_with("mtp.") && (n.find(".experts.2.") != n.npos || n.find(".experts.3.") != n.npos);
    });
    for (int i = 0; i < 3; ++i) {
      for (const char* name : {"weight", "bias"}) a["mtp." + std::to_string(i) + ".ffn.gate." + name].shape[0] = 2;
    }
    const CheckReport report = a.check();
    expect(report, Code::kDrafterExperts, 0);
    EXPECT_NE(report.plan, nullptr);
  }
}

TEST(Findings, DsparkDrafterWithItsOwnHead) {
  for (const auto& [embed, head] : {std::pair("mtp.0.embed.weight", "mtp.2.head.weight"),
                                    {"mtp.0.emb.tok_emb.weight", "mtp.2.lm_head.weight"},
                                    {"mtp.1.embed_tokens.weight", "mtp.0.head.weight"}}) {
    SCOPED_TRACE(embed);
    Artifact a = artifact(Family::kDspark);
    a.tensors.push_back({embed, Dtype::kBF16, {128, 256}, a.tensors[0].file});
    a.tensors.push_back({head, Dtype::kF32, {128, 256}, a.tensors[0].file});
    TempDir dir;
    a.write(dir.path());
    const CheckReport report = check_path(dir.path());
    EXPECT_EQ(report.exit_status(), 0) << all(report);
    for (const Code code : {Code::kOutsideModel, Code::kUnknownTensor, Code::kWrongShape})
      EXPECT_FALSE(report.has(code)) << all(report);
    EXPECT_THAT(report_text(report, 200, false, false), HasSubstr("head: its own copy, embedding: its own copy"));
    // Random numbers are not trained values.
    expect(check_data(dir.path()), Code::kMtpInitialValues, 1,
           std::string(head) == "mtp.2.lm_head.weight" ? head : embed);
    train(dir.path(), "embed.weight", embed);
    train(dir.path(), "head.weight", head);
    expect(check_data(dir.path()), Code::kDrafterOwnHead, 0, embed);
    expect(check_data(dir.path()), Code::kDrafterOwnHead, 0, head);
    EXPECT_THAT(parameter_map(report), HasSubstr(std::string(head) + "\tF32\n"));
    a.tensors.back().shape = {127, 256};
    expect(a.check(), Code::kWrongShape, 1, head);
    a.tensors.back().shape = {128, 256};
    a.tensors.back().dtype = Dtype::kI64;
    expect(a.check(), Code::kWrongDtype, 1, head);
  }
  // Without its own, it shares the model's: nothing is missing, and the map has no line for it.
  const CheckReport shared = artifact(Family::kDspark).check();
  EXPECT_EQ(shared.drafter.own_heads, 0U);
  EXPECT_THAT(parameter_map(shared), Not(HasSubstr("mtp.0.embed.weight")));
}

// Row 11.
TEST(Findings, FilesThatDisagreeWithTheIndex) {
  TempDir dir;
  artifact(Family::kBf16, false, "tiny", 3).write(dir.path());
  const std::filesystem::path second = dir / "model-00002-of-00003.safetensors";
  const std::string whole = testing::read_file(second);
  std::filesystem::resize_file(second, whole.size() - 1);
  expect(check_path(dir.path()), Code::kShardTruncated, 2, "model-00002-of-00003.safetensors");
  EXPECT_EQ(check_path(dir.path()).plan, nullptr);
  write_file(second, whole + "x");
  expect(check_path(dir.path()), Code::kShardTruncated, 2);
  std::filesystem::remove(second);
  const CheckReport gone = check_path(dir.path());
  expect(gone, Code::kShardMissing, 1, "model-00002-of-00003.safetensors");
  EXPECT_EQ(gone.count(Severity::kError), 1U) << all(gone);
  EXPECT_THAT(find(gone, Code::kShardMissing)->message, HasSubstr("The index lists"));
  EXPECT_EQ(gone.plan, nullptr);
  write_file(second, "version https://git-lfs.github.com/spec/v1\n");
  const CheckReport pointer = check_path(dir.path());
  expect(pointer, Code::kNotAShard, 2, "model-00002-of-00003.safetensors");
  EXPECT_EQ(pointer.count(Severity::kError), 1U) << all(pointer);
  std::filesystem::remove(second);
  write_file(dir / "renamed.safetensors", whole);
  const CheckReport renamed = check_path(dir.path());
  expect(renamed, Code::kShardMissing, 1, "renamed.safetensors");
  EXPECT_EQ(renamed.count(Severity::kError), 1U) << all(renamed);
  EXPECT_NE(renamed.plan, nullptr);
  std::filesystem::remove(dir / "renamed.safetensors");
  write_file(second, whole);

  const std::filesystem::path index_path = dir / "model.safetensors.index.json";
  const nlohmann::json index = nlohmann::json::parse(testing::read_file(index_path));
  nlohmann::json changed = index;
  changed["weight_map"]["norm.weight"] = "model-00003-of-00003.safetensors";
  write_file(index_path, changed.dump());
  expect(check_path(dir.path()), Code::kTensorInOtherShard, 1, "norm.weight");
  changed = index;
  changed["weight_map"].erase("norm.weight");
  write_file(index_path, changed.dump());
  expect(check_path(dir.path()), Code::kTensorNotInIndex, 1, "norm.weight");
  changed = index;
  changed["metadata"]["total_size"] = 1;
  write_file(index_path, changed.dump());
  expect(check_path(dir.path()), Code::kIndexTotalSize, 0);
  write_file(index_path, index.dump());
  EXPECT_EQ(check_path(dir.path()).exit_status(true), 0);
  std::filesystem::copy_file(second, dir / "stray.safetensors");
  expect(check_path(dir.path()), Code::kStrayFile, 0, "stray.safetensors");
  std::filesystem::remove(index_path);
  expect(check_path(dir.path()), Code::kDuplicateTensor, 1);
  std::filesystem::remove(dir / "stray.safetensors");
  expect(check_path(dir.path()), Code::kIndexMissing, 0);
  // An index that lacks a file which the model needs.
  changed = index;
  auto& map = changed["weight_map"];
  for (auto it = map.begin(); it != map.end();) {
    it = *it == "model-00002-of-00003.safetensors" ? map.erase(it) : std::next(it);
  }
  write_file(index_path, changed.dump());
  const CheckReport stale = check_path(dir.path());
  expect(stale, Code::kTensorNotInIndex, 1, "model-00002-of-00003.safetensors");
  EXPECT_EQ(stale.count(Severity::kError), 1U) << all(stale);
  EXPECT_EQ(find(stale, Code::kStrayFile), nullptr);
}

// The text for commands that refuse an incomplete checkpoint: each file once, faults by pattern.
TEST(Findings, IncompleteTextIsShort) {
  TempDir dir;
  artifact(Family::kBf16, false, "tiny", 3).write(dir.path());
  std::filesystem::remove(dir / "model-00002-of-00003.safetensors");
  const std::string missing = incomplete_text(check_path(dir.path()));
  EXPECT_EQ(std::count(missing.begin(), missing.end(), '\n'), 1) << missing;
  EXPECT_THAT(missing, HasSubstr("model-00002-of-00003.safetensors is missing. The index lists"));
  Artifact a = artifact(Family::kBf16);
  a.remove([](const std::string& name) { return name.find("experts.") != std::string::npos && name[0] == 'l'; });
  const std::string faults = incomplete_text(a.check());
  EXPECT_LE(std::count(faults.begin(), faults.end(), '\n'), 6) << faults;
  EXPECT_THAT(faults,
              HasSubstr("layers.0.ffn.experts.0.w1.weight: the checkpoint has no tensor for this parameter; and "));
}

TEST(Findings, NamesOnly) {
  TempDir dir;
  const Artifact a = artifact();
  a.write(dir.path());
  std::filesystem::remove(dir / "model-00001-of-00001.safetensors");
  const CheckReport report = check_path(dir.path());
  expect(report, Code::kNamesOnly, 1);
  EXPECT_EQ(report.count(Severity::kError), 1U) << all(report);
  Artifact less = a;
  less.remove("layers.3.attn.wq_b.weight");
  const auto listed =
      std::make_shared<const Checkpoint>(Checkpoint::from_listing(less.tensors, less.config.dump(), true));
  expect(check_checkpoint(listed), Code::kParameterMissing, 1, "layers.3.attn.wq_b.weight");
}

TEST(Findings, UnalignedData) {
  TempDir dir;
  artifact(Family::kBf16).write(dir.path());
  testing::make_unaligned(dir / "model-00001-of-00001.safetensors");
  expect(check_path(dir.path()), Code::kUnalignedData, 0, "model-00001-of-00001.safetensors");
}

// Row 12, and row 20 where values show it.
TEST(Findings, FaultyValues) {
  TempDir dir;
  Artifact a = artifact();
  a.write(dir.path());
  EXPECT_EQ(check_data(dir.path()).exit_status(true), 0) << all(check_data(dir.path()));
  const auto with = [&](const std::string& tensor, const std::function<void(std::span<std::byte>)>& change, Code code) {
    SCOPED_TRACE(tensor);
    a.write(dir.path());
    patch(dir.path(), tensor, change);
    expect(check_data(dir.path()), code, 1, tensor);
    EXPECT_EQ(check_path(dir.path()).exit_status(), 0);
  };
  const auto set = [](std::size_t at, std::initializer_list<int> values) {
    return [=](std::span<std::byte> bytes) {
      std::size_t i = at;
      for (const int v : values) bytes[i++] = static_cast<std::byte>(v);
    };
  };
  const auto fill = [](int value) {
    return [=](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(value)); };
  };
  with("embed.weight", set(2, {0xc0, 0x7f}), Code::kNotANumber);                     // BF16 NaN
  with("layers.0.hc_attn_fn", set(4, {0x00, 0x00, 0x80, 0xff}), Code::kNotANumber);  // F32 -inf
  with("layers.0.attn.wq_a.weight", set(9, {0xff}), Code::kNotANumber);              // F8_E4M3 NaN
  with("layers.0.attn.wq_a.weight", fill(0x80), Code::kAllZero);                     // -0 everywhere
  with("layers.0.ffn.experts.1.w1.weight", fill(0x08), Code::kAllZero);              // FP4 -0 and +0
  with("norm.weight", fill(0), Code::kAllZero);
  with("layers.0.attn.wq_a.scale", set(0, {0xff}), Code::kBadScale);  // E8M0 NaN
  with("layers.0.ffn.experts.1.w1.scale", fill(0x00), Code::kScalesCast);
  with("layers.0.ffn.experts.1.w1.scale", fill(0xff), Code::kScalesCast);
  // Row 18.
  with("layers.0.ffn.gate.tid2eid", set(0, {4, 0, 0, 0, 0, 0, 0, 0}), Code::kHashTableRange);
  with("layers.1.ffn.gate.tid2eid", fill(0xff), Code::kHashTableRange);
}

// E8M0 exponents stored as U8 are exponents here too, not FP4 codes.
TEST(Findings, FaultyExponentsStoredAsBytes) {
  TempDir dir;
  Artifact a = artifact();
  for (auto& t : a.tensors) {
    if (t.dtype == Dtype::kF8E8M0) t.dtype = Dtype::kU8;
  }
  const std::string scale = "layers.0.ffn.experts.1.w1.scale";
  a.write(dir.path());
  patch(dir.path(), scale, [](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0x80}); });
  for (const Code code : {Code::kBadScale, Code::kScalesCast}) {
    const CheckReport report = check_data(dir.path());
    const Finding* f = find(report, code);
    if (f == nullptr) continue;
    EXPECT_EQ(f->message.find(scale), std::string::npos) << f->message;
  }
  patch(dir.path(), scale, [](std::span<std::byte> bytes) { bytes[3] = std::byte{0xff}; });
  expect(check_data(dir.path()), Code::kBadScale, 1, scale);
}

TEST(Findings, FloatScalesThatAreZeroOrNegative) {
  TempDir dir;
  const Artifact a = artifact(Family::kFp8);
  for (const std::uint32_t code : {0x00000000U, 0x80000000U, 0xbf800000U, 0x7fc00000U}) {
    a.write(dir.path());
    patch(dir.path(), "layers.0.attn.wq_b.scale",
          [&](std::span<std::byte> bytes) { std::memcpy(bytes.data(), &code, 4); });
    expect(check_data(dir.path()), Code::kBadScale, 1, "layers.0.attn.wq_b.scale");
  }
}

// Row 13.
TEST(Findings, Tokenizer) {
  TempDir dir;
  artifact().write(dir.path());
  expect(check_path(dir.path()), Code::kTokenizerMissing, 0);
  nlohmann::json tokenizer = {{"model", {{"vocab", {{"a", 0}, {"b", 1}}}}}, {"added_tokens", nlohmann::json::array()}};
  int id = 2;
  for (const char* special :
       {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    tokenizer["added_tokens"].push_back({{"content", special}, {"id", id++}});
  }
  write_file(dir / "tokenizer.json", tokenizer.dump());
  EXPECT_EQ(check_path(dir.path()).exit_status(true), 0) << all(check_path(dir.path()));
  tokenizer["model"]["vocab"]["big"] = 128;
  write_file(dir / "tokenizer.json", tokenizer.dump());
  expect(check_path(dir.path()), Code::kTokenizerMismatch, 1);
  tokenizer["model"]["vocab"].erase("big");
  tokenizer["added_tokens"].erase(3);
  write_file(dir / "tokenizer.json", tokenizer.dump());
  expect(check_path(dir.path()), Code::kTokenizerMismatch, 1);
  EXPECT_THAT(all(check_path(dir.path())), HasSubstr("<｜Assistant｜>"));
}

// Row 14.
TEST(Findings, PointerOrPageInsteadOfAFile) {
  TempDir dir;
  artifact(Family::kBf16, false, "tiny", 3).write(dir.path());
  write_file(dir / "model-00002-of-00003.safetensors",
             "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  write_file(dir / "model-00003-of-00003.safetensors", "<!doctype html><title>Log in</title>");
  const CheckReport report = check_path(dir.path());
  expect(report, Code::kNotAShard, 2);
  EXPECT_THAT(all(report), HasSubstr("git lfs pull"));
  EXPECT_THAT(all(report), HasSubstr("web page"));
  write_file(dir / "model-00003-of-00003.safetensors", "PK\x03\x04 something else entirely");
  expect(check_path(dir.path()), Code::kShardUnreadable, 2);
}

// Row 15.
TEST(Findings, ScalesOnlyInTheIndex) {
  TempDir dir;
  Artifact a = artifact();
  a.write(dir.path());
  const std::string index = testing::read_file(dir / "model.safetensors.index.json");
  a.remove([](const std::string& n) { return n.ends_with("attn.wo_a.scale") && n.starts_with("layers."); });
  a.write(dir.path());
  write_file(dir / "model.safetensors.index.json", index);
  const CheckReport report = check_path(dir.path());
  expect(report, Code::kIndexNamesAbsentTensor, 1, "layers.0.attn.wo_a.scale");
  expect(report, Code::kCompanionMissing, 1, "layers.0.attn.wo_a.scale");
  // A BF16 wo_a beside FP8 attention is legitimate and has no scale.
  for (auto& t : a.tensors) {
    if (t.name.ends_with("attn.wo_a.weight") && t.name.starts_with("layers.")) t.dtype = Dtype::kBF16;
  }
  a.write(dir.path());
  EXPECT_EQ(check_path(dir.path()).exit_status(true), 0) << all(check_path(dir.path()));
  a.tensors.push_back({"layers.0.attn.wo_a.scale", Dtype::kF8E8M0, {2, 1}, a.tensors[0].file});
  a.write(dir.path());
  expect(check_path(dir.path()), Code::kStrayCompanion, 1, "layers.0.attn.wo_a.scale");
}

// Row 16.
TEST(Findings, IncompleteExpert) {
  Artifact a = artifact();
  a.remove([](const std::string& n) { return n.starts_with("layers.4.ffn.experts.2.w3."); });
  const CheckReport report = a.check();
  expect(report, Code::kFusedPartMissing, 1, "layers.4.ffn.experts.2.w3.weight");
  EXPECT_EQ(find(report, Code::kParameterMissing), nullptr);
  Artifact whole = artifact();
  whole.remove([](const std::string& n) { return n.starts_with("layers.4.ffn.experts.2."); });
  expect(whole.check(), Code::kParameterMissing, 1, "layers.4.ffn.experts.2.w3.weight");
  Artifact stack = artifact(Family::kHuggingFace);
  stack["model.layers.1.mlp.experts.gate_up_proj"].shape[1] /= 2;
  expect(stack.check(), Code::kWrongShape, 1, "model.layers.1.mlp.experts.gate_up_proj");
  stack.remove("model.layers.1.mlp.experts.gate_up_proj");
  const CheckReport gone = stack.check();
  expect(gone, Code::kFusedPartMissing, 1, "model.layers.1.mlp.experts.gate_up_proj");
}

TEST(Findings, TransposedByShape) {
  Artifact stack = artifact(Family::kHuggingFace);
  std::swap(stack["model.layers.1.mlp.experts.down_proj"].shape[1],
            stack["model.layers.1.mlp.experts.down_proj"].shape[2]);
  const CheckReport report = stack.check();
  expect(report, Code::kWrongShape, 1, "model.layers.1.mlp.experts.down_proj");
  EXPECT_THAT(find(report, Code::kWrongShape)->message,
              HasSubstr("transposed: stored [E, width, D], expected [E, D, width] (it is [4, 128, 256], not [4, 256, "
                        "128])"));
  EXPECT_THAT(find(report, Code::kWrongShape)->remedy, HasSubstr("transpose(-1, -2)"));
  Artifact one = artifact(Family::kBf16);
  std::swap(one["layers.1.attn.wq_a.weight"].shape[0], one["layers.1.attn.wq_a.weight"].shape[1]);
  EXPECT_THAT(find(one.check(), Code::kWrongShape)->message, HasSubstr("is transposed: stored [256, 128]"));
}

// Each expert of a stack is checked by itself.
TEST(Findings, FaultyValuesInAStack) {
  TempDir dir;
  const Artifact a = artifact(Family::kHuggingFace);
  const std::string gate_up = "model.layers.1.mlp.experts.gate_up_proj";  // [4, 256, 256] in BF16
  constexpr std::size_t kHalf = 2UL * 128 * 256;
  const auto with = [&](const std::function<void(std::span<std::byte>)>& change, Code code, const std::string& text) {
    a.write(dir.path());
    patch(dir.path(), gate_up, change);
    const CheckReport report = check_data(dir.path());
    expect(report, code, finding_kind(code).severity == Severity::kError ? 1 : 0, gate_up);
    EXPECT_THAT(find(report, code)->message, HasSubstr(text));
  };
  with([](std::span<std::byte> bytes) { bytes[5 * kHalf + 1] = bytes[5 * kHalf] = std::byte{0xff}; }, Code::kNotANumber,
       gate_up + ", up (w3) of expert 2 has 1 NaN");
  with([](std::span<std::byte> bytes) { std::ranges::fill(bytes.subspan(6 * kHalf, kHalf), std::byte{0}); },
       Code::kAllZero, gate_up + ", gate (w1) of expert 3: all 32,768 values are zero");
  with([](std::span<std::byte> bytes) { std::memcpy(&bytes[2 * kHalf], bytes.data(), 2 * kHalf); },
       Code::kIdenticalExperts, "experts 0 and 1 of layers.1 have byte-identical gate (w1), up (w3)");
}

TEST(Findings, ExpertThatIsACopyOfAnother) {
  TempDir dir;
  artifact().write(dir.path());
  EXPECT_FALSE(check_data(dir.path()).has(Code::kIdenticalExperts));
  std::string source;
  patch(dir.path(), "layers.3.ffn.experts.1.w2.weight",
        [&](std::span<std::byte> bytes) { source.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size()); });
  patch(dir.path(), "layers.3.ffn.experts.2.w2.weight",
        [&](std::span<std::byte> bytes) { std::memcpy(bytes.data(), source.data(), bytes.size()); });
  const CheckReport report = check_data(dir.path());
  expect(report, Code::kIdenticalExperts, 0, "layers.3.ffn.experts.2.w2.weight");
  EXPECT_EQ(report.exit_status(true), 1);
}

// Row 17.
TEST(Findings, MtpProjectionsCast) {
  Artifact a = artifact(Family::kBf16);
  a["mtp.0.e_proj.weight"].dtype = Dtype::kF8E4M3;
  a.tensors.push_back({"mtp.0.e_proj.scale", Dtype::kF8E8M0, {2, 2}});
  expect(a.check(), Code::kMtpNotAsReleased, 0, "mtp.0.e_proj.weight");
  Artifact b = artifact();
  b["mtp.0.e_proj.weight"].dtype = Dtype::kBF16;
  b.remove("mtp.0.e_proj.scale");
  expect(b.check(), Code::kInconsistentStorage, 0, "mtp.0.e_proj.weight");
}

// Row 18.
TEST(Findings, HashTableCast) {
  Artifact a = artifact();
  a["layers.0.ffn.gate.tid2eid"].dtype = Dtype::kBF16;
  expect(a.check(), Code::kHashTableNotInteger, 1, "layers.0.ffn.gate.tid2eid");
}

// Row 19.
TEST(Findings, QuantisedWhereNative) {
  Artifact a = artifact();
  a["layers.3.attn.compressor.wgate.weight"].dtype = Dtype::kF8E4M3;
  a.tensors.push_back({"layers.3.attn.compressor.wgate.scale", Dtype::kF8E8M0, {1, 2}});
  const CheckReport report = a.check();
  expect(report, Code::kQuantisedWhereNative, 0, "layers.3.attn.compressor.wgate.weight");
  EXPECT_NE(report.plan, nullptr);
}

// Row 20, visible from dtypes.
TEST(Findings, ScalesCastToNumbers) {
  Artifact a = artifact();
  a["layers.0.ffn.experts.0.w1.scale"].dtype = Dtype::kBF16;
  expect(a.check(), Code::kCompanionWrong, 1, "layers.0.ffn.experts.0.w1.scale");
}

// Row 21.
TEST(Findings, MtpAtItsInitialValues) {
  TempDir dir;
  const Artifact a = artifact(Family::kBf16);
  a.write(dir.path());
  EXPECT_EQ(find(check_data(dir.path()), Code::kMtpInitialValues), nullptr);
  for (const auto& t : a.tensors) {
    if (!t.name.starts_with("mtp.") || t.name.find("norm") == std::string::npos) continue;
    patch(dir.path(), t.name, [](std::span<std::byte> bytes) {
      for (std::size_t i = 0; i < bytes.size(); i += 2) {
        bytes[i] = std::byte{0x80};
        bytes[i + 1] = std::byte{0x3f};
      }
    });
  }
  // Norms of 1 alone could be trained; projections with another spread show that they are.
  EXPECT_EQ(find(check_data(dir.path()), Code::kMtpInitialValues), nullptr);
  for (const char* name : {"mtp.0.e_proj.weight", "mtp.0.h_proj.weight"}) {
    patch(dir.path(), name, [](std::span<std::byte> bytes) {
      for (std::size_t i = 0; i < bytes.size(); i += 2) {  // ±0.02 in BF16
        bytes[i] = std::byte{0xa4};
        bytes[i + 1] = i % 4 == 0 ? std::byte{0x3c} : std::byte{0xbc};
      }
    });
  }
  expect(check_data(dir.path()), Code::kMtpInitialValues, 1, "mtp.0.enorm.weight");
}

// Rows 22 and 23: not faults of the weights; reported so that nobody looks for one.
TEST(Findings, SettingsThatLookLikeABadDraftHead) {
  TempDir dir;
  artifact().write(dir.path());
  EXPECT_TRUE(check_path(dir.path()).has(Code::kMtpChained));
  EXPECT_FALSE(check_path(dir.path()).has(Code::kSampledByDefault));
  write_file(dir / "generation_config.json", R"({"do_sample": true, "temperature": 1.0})");
  expect(check_path(dir.path()), Code::kSampledByDefault, 0);
  EXPECT_EQ(check_path(dir.path()).exit_status(true), 0);
}

// Row 24.
TEST(Findings, UnusualShardingIsSound) {
  TempDir dir;
  Artifact a = artifact();
  int n = 0;
  for (auto& t : a.tensors) t.file = "model-0000" + std::to_string(n++ % 7) + ".safetensors";
  a.write(dir.path());
  const CheckReport report = check_path(dir.path());
  expect(report, Code::kUnusualSharding, 0);
  EXPECT_EQ(report.exit_status(true), 0) << all(report);
  EXPECT_NE(report.plan, nullptr);
}

// Row 25.
TEST(Findings, ExplodedTensors) {
  Artifact a = artifact();
  a.remove("layers.2.ffn.shared_experts.w2.weight");
  a.remove("layers.2.ffn.shared_experts.w2.scale");
  for (int row = 0; row < 256; ++row) {
    a.tensors.push_back(
        {"layers.2.ffn.shared_experts." + std::to_string(row) + ".w2.weight.weight", Dtype::kBF16, {128}});
  }
  const CheckReport report = a.check();
  expect(report, Code::kExplodedTensor, 1, "layers.2.ffn.shared_experts.0.w2.weight.weight");
  ASSERT_EQ(find(report, Code::kExplodedTensor)->tensors.size(), 1U);
  EXPECT_EQ(find(report, Code::kExplodedTensor)->tensors[0].count, 256U);
  expect(report, Code::kParameterMissing, 1, "layers.2.ffn.shared_experts.w2.weight");
}

TEST(Findings, OtherModels) {
  Artifact v41 = artifact();
  v41.config = {{"model_type", "deepseek_v41"}, {"text_config", {{"engram_layers", {1, 14}}}}};
  const CheckReport report = v41.check();
  expect(report, Code::kUnsupportedModel, 1);
  EXPECT_EQ(report.family, "DeepSeek-V4.1");
  Artifact llama = artifact();
  llama.config["model_type"] = "llama";
  expect(llama.check(), Code::kUnsupportedModel, 1);
  Artifact vision = artifact();
  vision.config["vision_n_layers"] = 27;
  vision.tensors.push_back({"vision.blocks.0.attn.qkv.weight", Dtype::kBF16, {8, 8}});
  vision.tensors.push_back({"layers.3.ffn.gate.bias_vl", Dtype::kF32, {4}});
  const CheckReport seen = vision.check();
  expect(seen, Code::kVisionTensors, 0, "vision.blocks.0.attn.qkv.weight");
  EXPECT_NE(seen.plan, nullptr);
  EXPECT_THAT(seen.family, HasSubstr("vision"));
}

// Names of a similar model that an unanchored rule would match.
TEST(Findings, NamesMatchOnlyAsAWhole) {
  Artifact a = artifact();
  for (const char* name :
       {"mtp.0.markov_head.head.weight", "layers.1.engram.embed.weight", "layers.01.attn_norm.weight",
        "xlayers.0.attn_norm.weight", "layers.0.attn_norm.weight.weight", "Layers.0.attn_norm.weight"}) {
    a.tensors.push_back({name, Dtype::kBF16, {8}});
  }
  const CheckReport report = a.check();
  for (std::size_t t = 0; t < report.binding->uses.size(); ++t) {
    const std::string name = report.binding->stored_name(static_cast<TensorId>(t));
    const bool added = std::any_of(a.tensors.end() - 6, a.tensors.end(), [&](const auto& x) { return x.name == name; });
    if (!added) continue;
    EXPECT_NE(report.binding->uses[t], TensorUse::kUsed) << name;
  }
}

TEST(Findings, TwoSpellingsOfOneParameter) {
  Artifact a = artifact(Family::kBf16);
  a.tensors.push_back({"lm_head.weight", Dtype::kBF16, {128, 256}});
  expect(a.check(), Code::kBoundTwice, 1, "lm_head.weight");
  Artifact scales = artifact();
  scales.tensors.push_back({"layers.0.attn.wq_a.weight_scale_inv", Dtype::kF32, {1, 2}});
  expect(scales.check(), Code::kBoundTwice, 1, "layers.0.attn.wq_a.weight_scale_inv");
}

TEST(Findings, V3StyleMtpNamesBind) {
  Artifact a = artifact(Family::kBf16, true);
  for (auto& t : a.tensors) {
    if (!t.name.starts_with("mtp.0.")) continue;
    std::string leaf = t.name.substr(6);
    if (leaf == "head.weight") leaf = "shared_head.head.weight";
    if (leaf == "norm.weight") leaf = "shared_head.norm.weight";
    if (leaf == "emb.tok_emb.weight") leaf = "embed_tokens.weight";
    t.name = "model.layers.6." + leaf;
  }
  const CheckReport report = a.check();
  ASSERT_NE(report.plan, nullptr) << all(report);
  EXPECT_EQ(report.drafter.kind, DrafterKind::kMtp);
  EXPECT_EQ(report.drafter.own_heads, 1U);
  EXPECT_THAT(report.dialect, HasSubstr("V3 style"));
}

TEST(Findings, Reference) {
  TempDir source;
  TempDir copy;
  const Artifact original = artifact(Family::kBf16);
  original.write(source.path());
  CheckOptions options;
  options.reference = source.path();
  original.write(copy.path());
  EXPECT_EQ(check_path(copy.path(), options).exit_status(true), 0) << all(check_path(copy.path(), options));

  Artifact changed = original;
  changed["layers.0.hc_attn_base"].dtype = Dtype::kBF16;
  changed.remove([](const std::string& n) { return n.starts_with("mtp."); });
  changed.config["swiglu_limit"] = 7.0;
  changed.write(copy.path());
  patch(copy.path(), "norm.weight", [](std::span<std::byte> bytes) { bytes[0] ^= std::byte{1}; });
  const CheckReport report = check_path(copy.path(), options);
  expect(report, Code::kReferenceDtype, 1, "layers.0.hc_attn_base");
  expect(report, Code::kReferenceLost, 1, "mtp.0.enorm.weight");
  expect(report, Code::kReferenceValues, 1, "norm.weight");
  expect(report, Code::kReferenceConfig, 1);
  EXPECT_THAT(all(report), HasSubstr("swiglu_limit is 7"));
  // The same weights under different names are equal.
  const Artifact renamed = artifact(Family::kHuggingFace);
  renamed.write(copy.path());
  const CheckReport compared = check_path(copy.path(), options);
  ASSERT_NE(find(compared, Code::kReferenceLost), nullptr);
  for (const TensorPattern& p : find(compared, Code::kReferenceLost)->tensors) {
    EXPECT_THAT(p.pattern, ::testing::StartsWith("mtp."));
  }
}

// BF16 values to permute: a stack [4, rows, cols], or a matrix.
std::vector<std::uint16_t> values_of(std::span<const std::byte> bytes) {
  std::vector<std::uint16_t> out(bytes.size() / 2);
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

TEST(Findings, ReferenceFindsMisplacedValues) {
  TempDir source;
  TempDir copy;
  const Artifact a = artifact(Family::kHuggingFace);
  a.write(source.path());
  CheckOptions options;
  options.reference = source.path();
  const std::string stack = "model.layers.3.mlp.experts.gate_up_proj";  // [4, 256, 256]: 2*width is D
  // `from`: maps each element of the stack (expert, row, column) to the element whose value it gets.
  using Index = std::array<std::size_t, 3>;
  const auto with = [&](const std::function<Index(Index)>& from, const std::string& text) {
    SCOPED_TRACE(text);
    a.write(copy.path());
    patch(copy.path(), stack, [&](std::span<std::byte> bytes) {
      const std::vector<std::uint16_t> values = values_of(bytes);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const Index at = from({i / 65536, i / 256 % 256, i % 256});
        std::memcpy(&bytes[2 * i], &values[(at[0] * 256 + at[1]) * 256 + at[2]], 2);
      }
    });
    const CheckReport report = check_path(copy.path(), options);
    expect(report, Code::kReferenceValues, 0, stack);
    EXPECT_THAT(all(report), HasSubstr(text));
    EXPECT_FALSE(find(report, Code::kReferenceValues)->remedy.empty());
  };
  with([](Index i) { return Index{i[0], i[2], i[1]}; }, "is transposed in all 4 experts");
  with([](Index i) { return Index{i[0], (i[1] + 128) % 256, i[2]}; }, "has gate and up swapped in all 4 experts");
  with(
      [](Index i) {
        return Index{i[0], i[1] % 2 * 128 + i[1] / 2, i[2]};
      },
      "rows interleaved in all 4 experts, 1 at a time, not");
  with([](Index i) { return Index{i[0], (i[1] + 1) % 2 * 128 + i[1] / 2, i[2]}; }, "1 at a time, up's first");
  with([](Index i) { return Index{i[0], i[1] / 32 % 2 * 128 + i[1] / 64 * 32 + i[1] % 32, i[2]}; }, "32 at a time");
  with([](Index i) { return Index{(i[0] + 1) % 4, i[1], i[2]}; }, "expert 0 of layers.3 has the values of expert 1");
  with([](Index i) { return Index{i[0], std::min<std::size_t>(i[1] / 128 * 128 + 127, i[1] + 5), i[2]}; }, "row r + 5");
}

TEST(Findings, ReferenceWithAnotherDtype) {
  TempDir source;
  TempDir copy;
  Artifact wide = artifact(Family::kBf16);
  for (auto& t : wide.tensors) {
    if (t.name == "layers.3.attn.wq_a.weight") t.dtype = Dtype::kF32;
  }
  wide.write(source.path());
  CheckOptions options;
  options.reference = source.path();
  const Artifact narrow = artifact(Family::kBf16);
  narrow.write(copy.path());
  std::vector<float> values(128UL * 256);
  patch(source.path(), "layers.3.attn.wq_a.weight",
        [&](std::span<std::byte> bytes) { std::memcpy(values.data(), bytes.data(), bytes.size()); });
  // Rounding to BF16 (here: toward zero) changes the dtype, not the values.
  patch(copy.path(), "layers.3.attn.wq_a.weight", [&](std::span<std::byte> bytes) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::memcpy(&bytes[2 * i], reinterpret_cast<const char*>(&values[i]) + 2, 2);
    }
  });
  const CheckReport rounded = check_path(copy.path(), options);
  expect(rounded, Code::kReferenceDtype, 0, "layers.3.attn.wq_a.weight");
  EXPECT_FALSE(rounded.has(Code::kReferenceValues)) << all(rounded);
  patch(copy.path(), "layers.3.attn.wq_a.weight", [](std::span<std::byte> bytes) { bytes[3] ^= std::byte{0x80}; });
  const CheckReport changed = check_path(copy.path(), options);
  expect(changed, Code::kReferenceValues, 0, "layers.3.attn.wq_a.weight");
  EXPECT_THAT(all(changed), HasSubstr("in 1 of 32,768 values"));
}

// The reference's own trained head is part of it; a copy of the model's is not.
TEST(Findings, OwnHeadOfTheReference) {
  TempDir source;
  TempDir copy;
  artifact(Family::kBf16).write(copy.path());
  CheckOptions options;
  options.reference = source.path();
  artifact(Family::kBf16, true).write(source.path());
  EXPECT_FALSE(check_path(copy.path(), options).has(Code::kReferenceLost));
  patch(source.path(), "mtp.0.head.weight", [](std::span<std::byte> bytes) { bytes[7] ^= std::byte{1}; });
  expect(check_path(copy.path(), options), Code::kReferenceLost, 1, "mtp.0.head.weight");
}

// Only bind() creates a plan, and only a plan gives access to weights.
static_assert(!std::is_default_constructible_v<CompletePlan>);
static_assert(!std::is_constructible_v<CompletePlan, BindingReport>);
static_assert(!std::is_default_constructible_v<Weights>);
static_assert(!std::is_constructible_v<Weights, std::shared_ptr<const BindingReport>>);
static_assert(std::is_constructible_v<Weights, std::shared_ptr<const CompletePlan>>);

// A plan is the only way to weights; its slices are the tensors' bytes.
TEST(Weights, AreAccessedThroughACompletePlan) {
  TempDir dir;
  artifact(Family::kHuggingFace).write(dir.path());
  const CheckReport report = check_path(dir.path());
  ASSERT_NE(report.plan, nullptr);
  const Weights weights(report.plan);
  const Manifest& manifest = report.plan->manifest();
  const auto w1 = manifest.find({BlockKind::kLayer, 2}, Slot::kExpertW1, 1);
  const auto w3 = manifest.find({BlockKind::kLayer, 2}, Slot::kExpertW3, 1);
  ASSERT_TRUE(w1 && w3);
  EXPECT_EQ(weights.bytes(*w1).size(), 128U * 256 * 2);
  // Expert 1 of [4, 2*128, 256] in BF16: w1 begins at row 256, w3 at row 384.
  EXPECT_EQ(weights.bytes(*w3).data() - weights.bytes(*w1).data(), 128 * 256 * 2);
  const TensorInfo* stack = report.checkpoint->find("model.layers.2.mlp.experts.gate_up_proj");
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(report.plan->slice(*w1, Component::kWeight).begin, 256U * 256 * 2);
  EXPECT_TRUE(weights.bytes(*w1, Component::kScale).empty());
}

TEST(Catalogue, EveryFindingHasAPage) {
  for (const FindingKind& kind : finding_kinds()) {
    const auto path =
        std::filesystem::path(OUTRIDER_SOURCE_DIR) / "docs" / "findings" / (std::string(kind.code) + ".md");
    const std::string page = testing::read_file(path);
    EXPECT_THAT(page, HasSubstr(std::string(kind.slug))) << path;
    EXPECT_THAT(page, HasSubstr(std::string(severity_name(kind.severity)))) << path;
  }
}

TEST(Report, JsonHasTheDocumentedKeys) {
  const std::string doc = testing::read_file(std::filesystem::path(OUTRIDER_SOURCE_DIR) / "docs" / "check-json.md");
  Artifact a = artifact(Family::kW4A16);
  a.remove("norm.weight");
  const auto json = nlohmann::json::parse(report_json(a.check()));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["exit_status"], 1);
  EXPECT_EQ(json["complete"], false);
  EXPECT_EQ(json["findings"][0]["code"], "OUT030");
  EXPECT_EQ(json["findings"][0]["tensors"][0]["pattern"], "norm.weight");
  const auto documented = [&](const nlohmann::json& object) {
    for (const auto& [key, value] : object.items()) EXPECT_THAT(doc, HasSubstr("`" + key + "`"));
  };
  documented(json);
  documented(json["drafter"]);
  documented(json["findings"][0]);
  documented(json["groups"][0]);
  documented(json["files"][0]);
}

TEST(Report, TheMapHasALineForEveryParameter) {
  const CheckReport report = artifact().check();
  const std::string map = parameter_map(report);
  EXPECT_EQ(static_cast<std::size_t>(std::count(map.begin(), map.end(), '\n')),
            report.plan->manifest().parameters().size() + 1);
  EXPECT_THAT(map, HasSubstr("mtp.0.head.weight\tmodel-00001-of-00001.safetensors\thead.weight\tBF16 [shared]\n"));
  EXPECT_THAT(map, Not(HasSubstr("not bound")));
}

}  // namespace
}  // namespace outrider
