// GGUF files with every defect that the check knows, written by the test.

#include "outrider/check/gguf_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/check/gguf_config.h"
#include "outrider/check/gguf_tensors.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/gguf_writer.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::TempDir;

constexpr GgmlType kF16 = 1;
constexpr GgmlType kQ8 = 8;
constexpr GgmlType kI8 = 24;
constexpr GgmlType kBF16 = 30;

ModelConfig tiny() {
  return read_config(synthetic::config_json("tiny", synthetic::Family::kOfficial, 1)).config;
}

// The metadata that llama.cpp's converter writes for the tiny model.
GgufWriter metadata(const ModelConfig& c, std::uint32_t nextn) {
  GgufWriter out;
  const auto number = [&](const std::string& key, std::uint64_t value) {
    out.number("deepseek4." + key, static_cast<std::uint32_t>(value));
  };
  const auto real = [&](const std::string& key, double value) {
    out.real("deepseek4." + key, static_cast<float>(value));
  };
  out.text("general.architecture", "deepseek4");
  out.number("general.file_type", 7);
  const auto layers = static_cast<std::uint32_t>(c.num_hidden_layers);
  number("block_count", layers + nextn);
  if (nextn != 0) number("nextn_predict_layers", nextn);
  number("vocab_size", c.vocab_size);
  number("context_length", c.max_position_embeddings);
  number("embedding_length", c.hidden_size);
  number("attention.head_count", c.num_attention_heads);
  number("attention.head_count_kv", 1);
  number("attention.key_length", c.head_dim);
  real("attention.layer_norm_rms_epsilon", c.rms_norm_eps);
  number("attention.q_lora_rank", c.q_lora_rank);
  number("attention.sliding_window", c.sliding_window);
  number("attention.output_group_count", c.o_groups);
  number("attention.output_lora_rank", c.o_lora_rank);
  real("attention.compress_rope_freq_base", c.compress_rope_theta);
  number("attention.indexer.head_count", c.index_n_heads);
  number("attention.indexer.key_length", c.index_head_dim);
  number("attention.indexer.top_k", c.index_topk);
  number("expert_count", c.n_routed_experts);
  number("expert_used_count", c.num_experts_per_tok);
  number("expert_shared_count", c.n_shared_experts);
  number("expert_feed_forward_length", c.moe_intermediate_size);
  number("expert_gating_func", 4);
  real("expert_weights_scale", c.routed_scaling_factor);
  out.flag("deepseek4.expert_weights_norm", true);
  real("swiglu_clamp_exp", c.swiglu_limit);
  number("hyper_connection.count", c.hc_mult);
  number("hyper_connection.sinkhorn_iterations", c.hc_sinkhorn_iters);
  real("hyper_connection.epsilon", c.hc_eps);
  number("hash_layer_count", *c.num_hash_layers());
  number("rope.dimension_count", c.qk_rope_head_dim);
  real("rope.freq_base", c.rope_theta);
  out.text("deepseek4.rope.scaling.type", "yarn");
  real("rope.scaling.factor", c.yarn->factor);
  number("rope.scaling.original_context_length", c.yarn->original_max_position_embeddings);
  std::vector<std::int32_t> ratios;
  for (const LayerAttention& layer : c.layers) ratios.push_back(static_cast<std::int32_t>(layer.compress_ratio));
  ratios.resize(layers + nextn, 0);
  out.list("deepseek4.attention.compress_ratios", ratios);
  return out;
}

enum class Kind { kModel, kModelAndDrafter, kDrafter };

GgufWriter gguf(Kind kind = Kind::kModel) {
  const ModelConfig c = tiny();
  const std::uint32_t nextn = kind == Kind::kModel ? 0 : 1;
  GgufWriter out = metadata(c, nextn);
  GgufConfig config;
  config.reading.config = c;
  config.drafting = nextn;
  config.drafter_only = kind == Kind::kDrafter;
  for (const GgufExpected& e : expected_gguf_tensors(config)) {
    if (e.optional) continue;
    const bool integer = e.spec->storage == Storage::kInteger;
    const bool quantised = e.spec->storage == Storage::kLinear && e.shape[0] % 32 == 0;
    const bool wide = e.spec->rank() == 1 || e.spec->storage == Storage::kFloat32;
    out.tensors.push_back({e.name, integer ? kGgmlI32 : quantised ? kQ8 : wide ? kGgmlF32 : kBF16, e.shape, 0});
  }
  return out;
}

GgufTensor& tensor(GgufWriter& file, const std::string& name) {
  const auto found = std::ranges::find(file.tensors, name, &GgufTensor::name);
  if (found == file.tensors.end()) throw std::runtime_error("no tensor " + name);
  return *found;
}

void remove(GgufWriter& file, const std::string& part_of_name) {
  std::erase_if(file.tensors, [&](const GgufTensor& t) { return t.name.find(part_of_name) != std::string::npos; });
}

class GgufCheckTest : public ::testing::Test {
 protected:
  CheckReport check(const GgufWriter& file) {
    file.write(dir_ / "m.gguf");
    return check_gguf(dir_ / "m.gguf").value();
  }
  // The report has a finding of this code whose message has these words.
  void expect(const CheckReport& report, const std::string& code, const std::string& words) {
    bool found = false;
    std::string all;
    for (const Finding& f : report.findings) {
      all += std::string(f.kind().code) + " " + f.message + "\n";
      found = found || (f.kind().code == code && f.message.find(words) != std::string::npos);
    }
    EXPECT_TRUE(found) << code << " " << words << "\n" << all;
  }

  TempDir dir_;
};

TEST_F(GgufCheckTest, SoundModelsAndDrafters) {
  const CheckReport model = check(gguf());
  EXPECT_TRUE(model.findings.empty()) << model.findings[0].message;
  EXPECT_TRUE(model.complete());
  EXPECT_EQ(model.exit_status(true), 0);
  EXPECT_THAT(model.family, HasSubstr("GGUF Q8_0"));
  EXPECT_EQ(model.plan, nullptr);
  const auto experts = std::ranges::find(model.groups, ModuleGroup::kExperts, &GroupSummary::group);
  EXPECT_EQ(experts->form, "Q8_0");
  EXPECT_EQ(experts->parameters, 3 * tiny().n_routed_experts * tiny().num_hidden_layers);

  const CheckReport drafter = check(gguf(Kind::kDrafter));
  EXPECT_TRUE(drafter.findings.empty()) << drafter.findings[0].message;
  EXPECT_THAT(drafter.family, HasSubstr("MTP drafter of"));
  EXPECT_EQ(drafter.drafter.blocks, 1U);

  const CheckReport both = check(gguf(Kind::kModelAndDrafter));
  EXPECT_TRUE(both.complete());
  expect(both, "OUT059", "hc_head_fn");
}

// Of the tensors that the model's file must have, as llama.cpp's loader declares them.
TEST_F(GgufCheckTest, NamesAndShapesAreLlamaCpps) {
  const ModelConfig c = tiny();
  GgufWriter file = gguf(Kind::kModelAndDrafter);
  const std::string mtp = "blk." + std::to_string(c.num_hidden_layers) + ".";
  EXPECT_EQ(tensor(file, "token_embd.weight").shape, (GgmlShape{c.hidden_size, c.vocab_size, 1, 1}));
  EXPECT_EQ(tensor(file, "blk.0.ffn_down_exps.weight").shape,
            (GgmlShape{c.moe_intermediate_size, c.hidden_size, c.n_routed_experts, 1}));
  EXPECT_EQ(tensor(file, "blk.0.ffn_gate_tid2eid.weight").shape,
            (GgmlShape{c.num_experts_per_tok, c.vocab_size, 1, 1}));
  EXPECT_EQ(tensor(file, "blk.0.hc_attn_fn.weight").shape,
            (GgmlShape{c.hc_mult * c.hidden_size, (2 + c.hc_mult) * c.hc_mult, 1, 1}));
  EXPECT_EQ(tensor(file, mtp + "nextn.eh_proj.weight").shape, (GgmlShape{2 * c.hidden_size, c.hidden_size, 1, 1}));
  EXPECT_EQ(tensor(file, mtp + "exp_probs_b.bias").shape, (GgmlShape{c.n_routed_experts, 1, 1, 1}));
}

TEST_F(GgufCheckTest, DefectsOfTensors) {
  GgufWriter file = gguf();
  remove(file, "blk.1.attn_q_b.weight");
  const CheckReport missing = check(file);
  expect(missing, "OUT030", "blk.1.attn_q_b.weight");
  EXPECT_FALSE(missing.complete());
  EXPECT_EQ(missing.exit_status(), 1);

  file = gguf();
  tensor(file, "blk.0.ffn_up_exps.weight").shape[2] -= 1;
  expect(check(file), "OUT032", "blk.0.ffn_up_exps.weight: its shape is [");

  file = gguf();
  for (const char* name : {"output_norm.weight", "blk.0.attn_sinks.weight", "blk.0.hc_attn_scale.weight"})
    tensor(file, name).type = kF16;
  const CheckReport cast = check(file);
  expect(cast, "OUT067", "output_norm.weight: stored as F16; and 2 more");
  EXPECT_FALSE(cast.complete());

  file = gguf();
  tensor(file, "blk.0.hc_ffn_fn.weight").type = kQ8;
  const CheckReport narrow = check(file);
  expect(narrow, "OUT060", "blk.0.hc_ffn_fn.weight: stored as Q8_0");
  EXPECT_TRUE(narrow.complete());
  EXPECT_EQ(narrow.exit_status(), 0);

  file = gguf();
  tensor(file, "blk.0.ffn_gate_tid2eid.weight").type = kGgmlF32;
  expect(check(file), "OUT062", "stored as F32");
  file = gguf();
  tensor(file, "blk.0.attn_q_a.weight").type = kI8;
  expect(check(file), "OUT033", "stored as I8");

  file = gguf();
  file.tensors.push_back({"blk.0.attn_q.weight", kGgmlF32, {32, 1, 1, 1}, 0});
  expect(check(file), "OUT044", "blk.0.attn_q.weight: ");
  file = gguf();
  file.tensors.push_back({"blk.0.exp_probs_b_vl.bias", kGgmlF32, {32, 1, 1, 1}, 0});
  EXPECT_TRUE(check(file).findings.empty());

  file = gguf();
  const ModelConfig c = tiny();
  GgufTensor& grouped = tensor(file, "blk.0.attn_output_a.weight");
  grouped.shape = {grouped.shape[0], c.o_lora_rank, c.o_groups, 1};
  EXPECT_TRUE(check(file).findings.empty());
}

TEST_F(GgufCheckTest, DraftersThatAreDropped) {
  // As the converter does it: the ratios still count the MTP block.
  GgufWriter file = gguf();
  std::vector<std::int32_t> ratios;
  for (const LayerAttention& layer : tiny().layers) ratios.push_back(static_cast<std::int32_t>(layer.compress_ratio));
  ratios.push_back(0);
  file.list("deepseek4.attention.compress_ratios", ratios);
  const CheckReport dropped = check(file);
  expect(dropped, "OUT051", "so the model has a drafter, but the file has neither");
  EXPECT_TRUE(dropped.complete());
  EXPECT_EQ(dropped.exit_status(true), 0);

  // Announced, not counted as a block.
  file = gguf();
  file.number("deepseek4.nextn_predict_layers", 1);
  expect(check(file), "OUT051", "switches MTP off without a message");

  // Announced and counted, without its tensors: llama.cpp looks for one layer more.
  file = gguf(Kind::kModelAndDrafter);
  remove(file, "blk." + std::to_string(tiny().num_hidden_layers) + ".");
  const CheckReport counted = check(file);
  expect(counted, "OUT051", "nextn_predict_layers is 1");
  expect(counted, "OUT021", "takes the absent drafter for layers");

  file = gguf(Kind::kModelAndDrafter);
  remove(file, "nextn.eh_proj");
  expect(check(file), "OUT030", "nextn.eh_proj.weight");

  // Not announced, but there: llama.cpp has no use for these.
  file = gguf(Kind::kModelAndDrafter);
  file.remove("deepseek4.nextn_predict_layers");
  expect(check(file), "OUT044", "nextn.");
}

TEST_F(GgufCheckTest, DefectsOfTheMetadata) {
  GgufWriter file = gguf();
  file.remove("deepseek4.hyper_connection.count");
  const CheckReport missing = check(file);
  expect(missing, "OUT020", "the metadata lacks deepseek4.hyper_connection.count");
  EXPECT_FALSE(missing.complete());

  file = gguf();
  file.number("deepseek4.expert_gating_func", 2);
  expect(check(file), "OUT021", "deepseek4.expert_gating_func is 2");
  file = gguf();
  file.list("deepseek4.attention.compress_ratios", {0});
  expect(check(file), "OUT021", "deepseek4.attention.compress_ratios has 1 entries");
  file = gguf();
  file.number("deepseek4.expert_used_count", 5000);
  expect(check(file), "OUT021", "(deepseek4.expert_used_count)");
  file = gguf();
  file.text("deepseek4.embedding_length", "many");
  EXPECT_EQ(check(file).exit_status(), 1);
  for (const std::uint32_t huge : {0U, 1U << 31, 0xffffffffU}) {
    for (const char* key : {"block_count", "expert_count", "embedding_length", "nextn_predict_layers", "vocab_size"}) {
      file = gguf();
      file.number(std::string("deepseek4.") + key, huge);
      const bool default_value = huge == 0 && key == std::string("nextn_predict_layers");
      EXPECT_EQ(check(file).exit_status() == 0, default_value) << key << " " << huge;
    }
  }
}

TEST_F(GgufCheckTest, CutOffAndDamagedFiles) {
  const GgufWriter file = gguf();
  file.write(dir_ / "m.gguf");
  const auto size = std::filesystem::file_size(dir_ / "m.gguf");
  std::filesystem::resize_file(dir_ / "m.gguf", size - 1000);
  const CheckReport cut = check_gguf(dir_ / "m.gguf").value();
  expect(cut, "OUT002", "cut off");
  EXPECT_EQ(cut.exit_status(), 2);
  EXPECT_FALSE(cut.complete());
  std::filesystem::resize_file(dir_ / "m.gguf", file.header().size() - 3000);
  expect(check_gguf(dir_ / "m.gguf").value(), "OUT001", "ends within its header");

  GgufWriter twice = gguf();
  twice.tensors.push_back(twice.tensors[0]);
  expect(check(twice), "OUT001", "has the tensor token_embd.weight twice");
  GgufWriter unknown = gguf();
  tensor(unknown, "output.weight").type = 31;
  expect(check(unknown), "OUT001", "of type 31");
  GgufWriter uneven = gguf();
  tensor(uneven, "blk.0.attn_q_a.weight").shape[0] = 33;
  expect(check(uneven), "OUT001", "rows of 33 elements, but Q8_0 stores 32 together");
  GgufWriter aligned = gguf();
  aligned.number("general.alignment", 48);
  expect(check(aligned), "OUT001", "power of two");
  GgufWriter enormous = gguf();
  tensor(enormous, "output.weight").shape = {1ULL << 40, 1ULL << 40, 1, 1};
  expect(check(enormous), "OUT001", "does not fit 63 bits");
}

TEST_F(GgufCheckTest, SplitFiles) {
  const auto split = [&](const GgufWriter& whole, std::uint32_t parts) {
    for (std::uint32_t i = 0; i < parts; ++i) {
      GgufWriter part = i == 0 ? whole : GgufWriter();
      part.tensors.clear();
      for (std::size_t t = i; t < whole.tensors.size(); t += parts) part.tensors.push_back(whole.tensors[t]);
      part.number("split.no", i);
      part.number("split.count", parts);
      part.number("split.tensors.count", static_cast<std::uint32_t>(whole.tensors.size()));
      part.write(dir_ / ("m-0000" + std::to_string(i + 1) + "-of-0000" + std::to_string(parts) + ".gguf"));
    }
  };
  split(gguf(), 3);
  const std::filesystem::path first = dir_ / "m-00001-of-00003.gguf";
  const std::filesystem::path second = dir_ / "m-00002-of-00003.gguf";
  for (const std::filesystem::path& path : {first, second, dir_.path()}) {
    const CheckReport report = check_gguf(path).value();
    EXPECT_TRUE(report.findings.empty()) << report.findings[0].message;
    EXPECT_EQ(report.contents.files.size(), 3U);
    EXPECT_EQ(report.contents.tensors, gguf().tensors.size());
  }
  std::filesystem::copy_file(first, second, std::filesystem::copy_options::overwrite_existing);
  const CheckReport mixed = check_gguf(first).value();
  expect(mixed, "OUT015", "m-00002-of-00003.gguf has split.no 0; 1 is expected");
  expect(mixed, "OUT008", "is stored in");
  std::filesystem::remove(second);
  const CheckReport missing = check_gguf(first).value();
  expect(missing, "OUT004", "1 of 3 parts are missing, for instance m-00002-of-00003.gguf");
  EXPECT_FALSE(missing.complete());
  EXPECT_FALSE(missing.has(Code::kParameterMissing));
  std::filesystem::rename(first, dir_ / "renamed.gguf");
  expect(check_gguf(dir_ / "renamed.gguf").value(), "OUT015", "its name is not that of a part");
}

TEST_F(GgufCheckTest, OtherPathsAreNoGguf) {
  GgufWriter other = gguf();
  other.text("general.architecture", "llama");
  other.write(dir_ / "m.gguf");
  EXPECT_FALSE(check_gguf(dir_ / "m.gguf"));
  EXPECT_FALSE(check_gguf(dir_.path()));
  EXPECT_FALSE(check_gguf(dir_ / "absent.gguf"));
  gguf().write(dir_ / "a.gguf");
  EXPECT_TRUE(check_gguf(dir_.path()));
  gguf().write(dir_ / "b.gguf");
  EXPECT_THAT(testing::error_message([&] { check_gguf(dir_.path()); }), HasSubstr("has 2 GGUF models. Give one of"));
  testing::write_file(dir_ / "model.safetensors", "");
  EXPECT_FALSE(check_gguf(dir_.path()));
}

// Removes, renames, retypes or reshapes any one tensor of a sound file: always found, always named.
TEST_F(GgufCheckTest, AnyChangeIsFoundAndNamed) {
  std::mt19937 random(20260101);
  const GgufWriter sound = gguf(Kind::kModelAndDrafter);
  for (std::size_t at = 0; at < sound.tensors.size(); ++at) {
    GgufWriter changed = sound;
    GgufTensor& t = changed.tensors[at];
    std::string name = t.name;
    const unsigned mutation = random() % 4;
    if (mutation == 0) {
      changed.tensors.erase(changed.tensors.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (mutation == 1) {
      t.name[random() % t.name.size()] = '~';
      name = t.name;
    } else if (mutation == 2) {
      t.type = kI8;
      if (sound.tensors[at].type == kGgmlI32) t.type = kF16;
    } else {
      t.shape[1 + random() % 3] *= 3;
    }
    const CheckReport report = check(changed);
    EXPECT_NE(report.exit_status(), 0) << name;
    const bool named = std::ranges::any_of(report.findings,
                                           [&](const Finding& f) { return f.message.find(name) != std::string::npos; });
    EXPECT_TRUE(named) << mutation << " " << name;
  }
}

// No byte of the header makes the check crash, hang or take much memory.
TEST_F(GgufCheckTest, HostileBytes) {
  const std::string whole = gguf().header();
  std::mt19937_64 random(7);
  const auto changed = [&] {
    std::string out = whole;
    for (int n = 0; n < 3; ++n) out[4 + random() % (out.size() - 4)] = static_cast<char>(random());
    return out;
  };
  for (int i = 0; i < 5'000; ++i) parse_gguf_header(changed());
  for (std::size_t cut = 4; cut < whole.size() - 32; cut += 7) {
    EXPECT_NE(parse_gguf_header(std::string_view(whole).substr(0, cut)).problem, "") << cut;
  }
  for (int i = 0; i < 500; ++i) {
    testing::write_file(dir_ / "m.gguf", changed());
    check_gguf(dir_ / "m.gguf");
  }
}

}  // namespace
}  // namespace outrider
