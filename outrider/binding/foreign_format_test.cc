#include "outrider/binding/foreign_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/binding/open_plan.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using synthetic::Family;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Tensors = std::vector<Checkpoint::Listed>;

struct Artifact {
  nlohmann::json config;
  Tensors tensors;
};

Artifact artifact(Family family) {
  Artifact out;
  const std::string config = synthetic::config_json("tiny", family);
  out.config = nlohmann::json::parse(config);
  synthetic::SyntheticOptions options;
  options.family = family;
  out.tensors = synthetic::tensor_list(read_config(config).config, options);
  return out;
}

std::optional<ForeignFormat> recognise(const Artifact& a, bool names_only = false) {
  const auto checkpoint =
      std::make_shared<const Checkpoint>(Checkpoint::from_listing(a.tensors, a.config.dump(), names_only));
  const ConfigReading reading = read_config(checkpoint->config_json());
  const auto manifest = manifest_for(reading.config, scan_drafter(*checkpoint, reading.config.num_hidden_layers), {});
  const BindResult bound = bind(checkpoint, manifest);
  const auto* plan = std::get_if<CompletePlan>(&bound);
  return recognise_foreign_format(*checkpoint, reading,
                                  plan != nullptr ? &plan->report() : &std::get<BindingReport>(bound));
}

using Parts = std::function<Tensors(const Checkpoint::Listed& weight)>;

// BF16 but for the experts, whose weights are replaced by other tensors, named after "X.".
Artifact with_experts(const Parts& parts, const nlohmann::json& quantization = nullptr) {
  Artifact out = artifact(Family::kBf16);
  if (!quantization.is_null()) out.config["quantization_config"] = quantization;
  Tensors made;
  for (const auto& t : out.tensors) {
    if (t.name.find(".experts.") == std::string::npos) {
      made.push_back(t);
      continue;
    }
    for (Checkpoint::Listed part : parts(t)) {
      part.name = t.name.substr(0, t.name.rfind('.') + 1) + part.name;
      part.file = t.file;
      made.push_back(std::move(part));
    }
  }
  out.tensors = std::move(made);
  return out;
}

std::string name_of(const std::optional<ForeignFormat>& foreign) {
  return foreign ? foreign->name : "none";
}

TEST(ForeignFormat, IsNoFormOfOurs) {
  for (const Family family : {Family::kOfficial, Family::kBf16, Family::kW4A16, Family::kNvfp4, Family::kModelopt,
                              Family::kFp8, Family::kHuggingFace, Family::kDspark}) {
    EXPECT_EQ(name_of(recognise(artifact(family))), "none") << static_cast<int>(family);
    Artifact damaged = artifact(family);
    std::erase_if(damaged.tensors, [](const auto& t) { return t.name.find(".attn.wq_a.") != std::string::npos; });
    EXPECT_EQ(name_of(recognise(damaged)), "none") << static_cast<int>(family);
  }
}

TEST(ForeignFormat, IsNamedByItsTensors) {
  const auto one = [](const char* name, Dtype dtype, std::vector<std::uint64_t> shape) {
    return [=](const Checkpoint::Listed&) { return Tensors{{name, dtype, shape}}; };
  };
  const std::vector<std::pair<std::string, Parts>> forms = {
      {"EXL3", one("trellis", Dtype::kI16, {16, 16, 64})},
      {"EXL2", one("q_weight", Dtype::kI32, {16, 128})},
      {"HQQ", one("W_q", Dtype::kU8, {128, 64})},
      {"AQLM", one("codebooks", Dtype::kF16, {1, 256, 1, 8})},
      {"SpQR", one("dense_weights", Dtype::kI64, {128})},
      {"VPTQ", one("centroids.weight", Dtype::kBF16, {1, 64})},
      {"torchao", one("_weight_qdata", Dtype::kI8, {128, 128})},
      {"Quanto", one("weight._data", Dtype::kI8, {128, 128})},
      {"GGUF in safetensors", one("qweight_type", Dtype::kU8, {1})},
      {"bitsandbytes", one("weight.quant_state.bitsandbytes__nf4", Dtype::kU8, {64})},
      {"Ascend ModelSlim", one("weight_offset", Dtype::kF32, {128, 1})},
      {"MLX",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"weight", Dtype::kU32, {w.shape[0], w.shape[1] / 8}},
                        {"scales", Dtype::kU8, {w.shape[0], w.shape[1] / 32}}};
       }},
      {"GPTQ",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"qweight", Dtype::kI32, {w.shape[1] / 8, w.shape[0]}},
                        {"scales", Dtype::kF16, {w.shape[1] / 64, w.shape[0]}}};
       }},
      {"AWQ",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"qweight", Dtype::kI32, {w.shape[1], w.shape[0] / 8}},
                        {"scales", Dtype::kF16, {w.shape[1] / 64, w.shape[0]}}};
       }},
      {"FP8 with a scale per channel",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"weight", Dtype::kF8E4M3, w.shape}, {"weight_scale", Dtype::kBF16, {w.shape[0], 1}}};
       }},
      {"FP8 with one scale per tensor",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"weight", Dtype::kF8E4M3, w.shape}, {"weight_scale", Dtype::kF32, {}}};
       }},
      {"MXFP8",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"weight", Dtype::kF8E4M3, w.shape},
                        {"weight_scale", Dtype::kU8, {w.shape[0], w.shape[1] / 32}}};
       }},
      {"int8 W8A8 or W8A16",
       [](const Checkpoint::Listed& w) {
         return Tensors{{"weight", Dtype::kI8, w.shape}, {"weight_scale", Dtype::kF32, {w.shape[0]}}};
       }},
  };
  for (const auto& [name, parts] : forms) {
    const auto foreign = recognise(with_experts(parts));
    ASSERT_EQ(name_of(foreign), name);
    EXPECT_THAT(foreign->sentence(), AllOf(HasSubstr("tensors such as layers.0"), HasSubstr("does not support")));
  }
}

TEST(ForeignFormat, TakesItsNameFromTheConfig) {
  const auto gptq = [](const Checkpoint::Listed& w) {
    return Tensors{{"qweight", Dtype::kI32, {w.shape[1] / 8, w.shape[0]}}, {"g_idx", Dtype::kI32, {w.shape[1]}}};
  };
  EXPECT_EQ(name_of(recognise(with_experts(gptq, {{"quant_method", "auto_round:auto_gptq"}}))), "AutoRound");
  EXPECT_EQ(name_of(recognise(with_experts(gptq, {{"quant_method", "fp8"}}))), "GPTQ");
  const auto odd = [](const Checkpoint::Listed& w) { return Tensors{{"residues", Dtype::kU8, w.shape}}; };
  EXPECT_THAT(name_of(recognise(with_experts(odd, {{"quant_method", "rns"}}))), HasSubstr("\"rns\""));
  EXPECT_EQ(name_of(recognise(with_experts(odd, {{"quant_method", "bitnet"}}))), "BitNet");
  EXPECT_EQ(name_of(recognise(with_experts(odd))), "none");  // misspelt names, for all that is known
  Artifact names = with_experts(gptq);
  EXPECT_EQ(name_of(recognise(names, true)), "GPTQ");
}

TEST(ForeignFormat, IsNotWhatASingleTensorLooksLike) {
  Artifact scale = artifact(Family::kOfficial);
  for (auto& t : scale.tensors) {
    if (t.name == "layers.0.attn.wq_a.scale") t.shape = {1};
    if (t.name == "layers.0.attn.wq_a.scale") t.dtype = Dtype::kF32;
  }
  EXPECT_EQ(name_of(recognise(scale)), "none");
  // What config.json says does not make unquantised weights foreign.
  Artifact forgotten = artifact(Family::kBf16);
  forgotten.config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  EXPECT_EQ(name_of(recognise(forgotten)), "none");
  for (auto& t : forgotten.tensors) {
    if (t.name == "layers.0.attn.wq_a.weight") t.shape = {3, 3};
  }
  EXPECT_EQ(name_of(recognise(forgotten)), "none");
  // Nor do tensors that nothing needs.
  Artifact strays = artifact(Family::kOfficial);
  strays.tensors.push_back({"layers.0.attn.wq_a.g_idx", Dtype::kI32, {256}});
  EXPECT_EQ(name_of(recognise(strays)), "none");
}

TEST(ForeignFormat, IsTakenForWhatNeedsItsActivationsChanged) {
  Artifact scaled = artifact(Family::kModelopt);
  scaled.tensors.push_back({"layers.0.ffn.experts.0.w1.pre_quant_scale", Dtype::kBF16, {256}});
  EXPECT_THAT(name_of(recognise(scaled)), HasSubstr("scaled activations"));
  Artifact rotated = artifact(Family::kW4A16);
  rotated.config["quantization_config"]["transform_config"]["config_groups"]["R1"] = {{"type", "hadamard"}};
  EXPECT_THAT(name_of(recognise(rotated)), HasSubstr("transforms"));
}

TEST(ForeignFormat, IsRefusedInOneSentence) {
  testing::TempDir dir;
  const Artifact a = with_experts(
      [](const Checkpoint::Listed&) {
        return Tensors{{"trellis", Dtype::kI16, {8, 8, 64}}};
      },
      {{"quant_method", "exl3"}});
  synthetic::write_checkpoint(dir.path(), a.tensors, a.config.dump(), true);
  const std::string message = testing::error_message([&] { open_plan(dir.path()); });
  EXPECT_THAT(message,
              AllOf(HasSubstr("EXL3"), HasSubstr("does not support this storage form"), HasSubstr("official release")));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0);
}

TEST(ForeignFormat, MethodsAreKnownOrNot) {
  for (const char* known : {"", "fp8", "compressed-tensors", "modelopt", "gptq", "auto-round", "quark"}) {
    EXPECT_TRUE(is_known_quant_method(known)) << known;
  }
  EXPECT_FALSE(is_known_quant_method("residue-number-system"));
  EXPECT_FALSE(is_read_quant_method("gptq"));
}

}  // namespace
}  // namespace outrider
