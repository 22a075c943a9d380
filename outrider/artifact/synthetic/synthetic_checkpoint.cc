#include "outrider/artifact/synthetic/synthetic_checkpoint.h"

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "outrider/binding/tensor_name.h"
#include "outrider/checkpoint/safetensors_writer.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/manifest/architecture.h"
#include "outrider/manifest/manifest.h"

namespace outrider::synthetic {
namespace {

using nlohmann::ordered_json;
using Shape = std::vector<std::uint64_t>;

std::uint64_t blocks_of(std::uint64_t n, std::uint64_t block) {
  return (n + block - 1) / block;
}

// The storage of one linear.
enum class Form { kPlain, kFp8, kMxfp4, kW4A16, kNvfp4, kModelopt };

struct FormRules {
  Form experts = Form::kPlain;
  Form attention = Form::kPlain;  // attention, e_proj, h_proj, main_proj
  Form shared = Form::kPlain;
  Form indexer = Form::kPlain;
  Form compressor = Form::kPlain;
  Component fp8_scale = Component::kScale;
  Dtype fp8_scale_dtype = Dtype::kF8E8M0;
};

FormRules rules_of(Family family, bool drafter) {
  FormRules official{Form::kMxfp4, Form::kFp8, Form::kFp8, Form::kFp8, Form::kPlain, Component::kScale, Dtype::kF8E8M0};
  switch (family) {
    case Family::kOfficial:
    case Family::kDspark:
      return official;
    case Family::kW4A16:
      if (drafter) return {};
      return {Form::kW4A16, Form::kFp8, Form::kPlain, Form::kFp8, Form::kFp8, Component::kWeightScale, Dtype::kBF16};
    case Family::kNvfp4:
      if (drafter) return {};
      return {Form::kNvfp4, Form::kFp8, Form::kPlain, Form::kPlain, Form::kPlain, Component::kWeightScaleInv,
              Dtype::kF32};
    case Family::kModelopt:
      if (drafter) return official;
      official.experts = Form::kModelopt;
      return official;
    case Family::kFp8:
      return {Form::kFp8, Form::kFp8, Form::kFp8, Form::kFp8, Form::kPlain, Component::kScale, Dtype::kF32};
    case Family::kBf16:
    case Family::kHuggingFace:
      return {};
  }
  return {};
}

Form form_of(const FormRules& rules, ModuleGroup group) {
  switch (group) {
    case ModuleGroup::kExperts:
      return rules.experts;
    case ModuleGroup::kAttention:
    case ModuleGroup::kAttentionOutputA:
      return rules.attention;
    case ModuleGroup::kSharedExperts:
      return rules.shared;
    case ModuleGroup::kIndexerQuery:
      return rules.indexer;
    case ModuleGroup::kCompressor:
      return rules.compressor;
    default:
      return Form::kPlain;
  }
}

class Lister {
 public:
  Lister(const ModelConfig& config, const SyntheticOptions& options)
      : options_(options),
        hf_(options.family == Family::kHuggingFace),
        manifest_(config, drafter(config, options), blocks(config, options)) {}

  std::vector<Checkpoint::Listed> run() {
    const std::size_t count = manifest_.parameters().size();
    for (ParameterId p = 0; p < count; ++p) {
      shard_ = static_cast<std::uint32_t>(std::size_t{p} * options_.shards / count);
      add(manifest_[p]);
    }
    return std::move(out_);
  }

 private:
  static DrafterKind drafter(const ModelConfig& config, const SyntheticOptions& options) {
    if (options.family == Family::kDspark) return DrafterKind::kDspark;
    const bool mtp = options.mtp && options.family != Family::kHuggingFace && config.num_nextn_predict_layers != 0;
    return mtp ? DrafterKind::kMtp : DrafterKind::kNone;
  }
  static std::uint32_t blocks(const ModelConfig& config, const SyntheticOptions& options) {
    if (options.family == Family::kDspark) return static_cast<std::uint32_t>(config.drafter_layers.size());
    return static_cast<std::uint32_t>(config.num_nextn_predict_layers);
  }

  void put(const Parameter& p, Component component, Dtype dtype, Shape shape) {
    out_.push_back({tensor_name(p, component, hf_, hf_), dtype, std::move(shape),
                    fmt::format("model-{:05}-of-{:05}.safetensors", shard_ + 1, options_.shards)});
  }

  void add(const Parameter& p) {
    const ParameterSpec& spec = p.spec();
    const bool drafter = p.block.kind == BlockKind::kMtp || p.block.kind == BlockKind::kDspark;
    const bool own_copy = options_.mtp_aliases || options_.family == Family::kNvfp4;
    if (p.falls_back_to && !own_copy && !(options_.family == Family::kFp8 && p.slot == Slot::kHead)) return;
    const FormRules rules = rules_of(options_.family, drafter);
    const Shape shape(p.shape.span().begin(), p.shape.span().end());
    if (spec.storage != Storage::kLinear && spec.storage != Storage::kLinearNative) {
      return put(p, Component::kWeight, spec.release_dtype, shape);
    }
    if (hf_ && p.expert >= 0) return add_stack(p);
    const std::uint64_t out = p.shape.dims[0];
    const std::uint64_t in = p.shape.dims[1];
    switch (form_of(rules, spec.group)) {
      case Form::kPlain: {
        const bool wide_head = p.slot == Slot::kHead && options_.family == Family::kNvfp4;
        return put(p, Component::kWeight, wide_head ? Dtype::kF32 : Dtype::kBF16, shape);
      }
      case Form::kFp8:
        put(p, Component::kWeight, Dtype::kF8E4M3, shape);
        return put(p, rules.fp8_scale, rules.fp8_scale_dtype, {blocks_of(out, 128), blocks_of(in, 128)});
      case Form::kMxfp4:
        put(p, Component::kWeight, Dtype::kI8, {out, in / 2});
        return put(p, Component::kScale, Dtype::kF8E8M0, {out, in / 32});
      case Form::kW4A16:
        put(p, Component::kWeightPacked, Dtype::kI32, {out, in / 8});
        put(p, Component::kWeightScale, Dtype::kBF16, {out, in / 128});
        return put(p, Component::kWeightShape, Dtype::kI64, {2});
      case Form::kNvfp4:
        put(p, Component::kWeightPacked, Dtype::kU8, {out, in / 2});
        put(p, Component::kWeightScale, Dtype::kF8E4M3, {out, in / 16});
        put(p, Component::kWeightGlobalScale, Dtype::kF32, {});
        return put(p, Component::kInputGlobalScale, Dtype::kF32, {});
      case Form::kModelopt:
        put(p, Component::kWeight, Dtype::kU8, {out, in / 2});
        put(p, Component::kWeightScale, Dtype::kF8E4M3, {out, in / 16});
        put(p, Component::kWeightScale2, Dtype::kF32, {});
        return put(p, Component::kInputScale, Dtype::kF32, {});
    }
  }

  // save_pretrained stacks the experts of a layer.
  void add_stack(const Parameter& p) {
    if (p.expert != 0 || p.slot == Slot::kExpertW3) return;
    const ModelConfig& c = manifest_.config();
    const bool down = p.slot == Slot::kExpertW2;
    out_.push_back({fmt::format("model.layers.{}.mlp.experts.{}", p.block.index, down ? "down_proj" : "gate_up_proj"),
                    Dtype::kBF16,
                    down ? Shape{c.n_routed_experts, c.hidden_size, c.moe_intermediate_size}
                         : Shape{c.n_routed_experts, 2 * c.moe_intermediate_size, c.hidden_size},
                    fmt::format("model-{:05}-of-{:05}.safetensors", shard_ + 1, options_.shards)});
  }

  SyntheticOptions options_;
  bool hf_;
  Manifest manifest_;
  std::uint32_t shard_ = 0;
  std::vector<Checkpoint::Listed> out_;
};

ordered_json shape_fields(std::string_view shape) {
  const auto ratios = [](std::vector<int> head, int layers) {
    for (int i = static_cast<int>(head.size()); i < layers; ++i) head.push_back(i % 2 == 0 ? 4 : 128);
    return head;
  };
  if (shape == "flash") {
    return {{"vocab_size", 129280},
            {"hidden_size", 4096},
            {"num_hidden_layers", 43},
            {"num_attention_heads", 64},
            {"head_dim", 512},
            {"qk_rope_head_dim", 64},
            {"q_lora_rank", 1024},
            {"o_groups", 8},
            {"o_lora_rank", 1024},
            {"n_routed_experts", 256},
            {"num_experts_per_tok", 6},
            {"moe_intermediate_size", 2048},
            {"index_n_heads", 64},
            {"index_head_dim", 128},
            {"index_topk", 512},
            {"num_hash_layers", 3},
            {"compress_ratios", ratios({0, 0}, 43)}};
  }
  if (shape == "pro") {
    return {{"vocab_size", 129280},
            {"hidden_size", 7168},
            {"num_hidden_layers", 61},
            {"num_attention_heads", 128},
            {"head_dim", 512},
            {"qk_rope_head_dim", 64},
            {"q_lora_rank", 1536},
            {"o_groups", 16},
            {"o_lora_rank", 1024},
            {"n_routed_experts", 384},
            {"num_experts_per_tok", 6},
            {"moe_intermediate_size", 3072},
            {"index_n_heads", 64},
            {"index_head_dim", 128},
            {"index_topk", 1024},
            {"num_hash_layers", 3},
            {"compress_ratios", ratios({128, 128}, 61)}};
  }
  if (shape == "pro-tiny") {
    return {{"vocab_size", 96},
            {"hidden_size", 384},
            {"num_hidden_layers", 5},
            {"num_attention_heads", 8},
            {"head_dim", 32},
            {"qk_rope_head_dim", 8},
            {"q_lora_rank", 256},
            {"o_groups", 4},
            {"o_lora_rank", 64},
            {"n_routed_experts", 6},
            {"num_experts_per_tok", 2},
            {"moe_intermediate_size", 256},
            {"index_n_heads", 4},
            {"index_head_dim", 32},
            {"index_topk", 16},
            {"num_hash_layers", 1},
            {"compress_ratios", {128, 128, 4, 128, 4}}};
  }
  return {{"vocab_size", 128},
          {"hidden_size", 256},
          {"num_hidden_layers", 6},
          {"num_attention_heads", 4},
          {"head_dim", 64},
          {"qk_rope_head_dim", 16},
          {"q_lora_rank", 128},
          {"o_groups", 2},
          {"o_lora_rank", 128},
          {"n_routed_experts", 4},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", 128},
          {"index_n_heads", 4},
          {"index_head_dim", 32},
          {"index_topk", 16},
          {"num_hash_layers", 2},
          {"compress_ratios", {0, 0, 4, 128, 4, 128}}};
}

ordered_json quantization_fields(Family family) {
  const ordered_json fp8_weights = {{"num_bits", 8}, {"type", "float"}, {"strategy", "block"}};
  switch (family) {
    case Family::kOfficial:
    case Family::kDspark:
    case Family::kModelopt:
      return {{"quant_method", family == Family::kModelopt ? "modelopt" : "fp8"},
              {"fmt", "e4m3"},
              {"scale_fmt", "ue8m0"},
              {"activation_scheme", "dynamic"},
              {"weight_block_size", {128, 128}}};
    case Family::kFp8:
      return {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};
    case Family::kW4A16:
      return {{"quant_method", "compressed-tensors"},
              {"format", "mixed-precision"},
              {"config_groups",
               {{"group_0",
                 {{"targets", {R"(re:layers\.\d+\.ffn\.experts\.\d+\.w[123]$)"}},
                  {"weights", {{"num_bits", 4}, {"type", "int"}, {"group_size", 128}}}}},
                {"group_1", {{"targets", {R"(re:layers\.\d+\.attn\..*)"}}, {"weights", fp8_weights}}}}},
              {"ignore", {R"(re:mtp\..*)", "head"}}};
    case Family::kNvfp4:
      return {{"quant_method", "compressed-tensors"},
              {"format", "mixed-precision"},
              {"config_groups",
               {{"group_0",
                 {{"targets", {R"(re:layers\.\d+\.ffn\.experts\.\d+\.w[123]$)"}},
                  {"weights", {{"num_bits", 4}, {"type", "float"}, {"group_size", 16}}}}},
                {"group_1",
                 {{"targets", {R"(re:layers\.\d+\.attn\.(wq_a|wq_b|wkv|wo_a|wo_b)$)"}}, {"weights", fp8_weights}}}}},
              {"ignore", {R"(re:mtp\..*)", "head"}}};
    case Family::kBf16:
    case Family::kHuggingFace:
      return nullptr;
  }
  return nullptr;
}

void fill(std::vector<std::byte>& bytes, const Checkpoint::Listed& tensor, std::uint64_t experts,
          std::mt19937_64& random) {
  const bool scale =
      tensor.name.ends_with("scale") || tensor.name.ends_with("scale_inv") || tensor.name.ends_with("scale_2");
  const auto each = [&](auto make) {
    using T = decltype(make());
    for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
      const T value = make();
      std::memcpy(bytes.data() + i, &value, sizeof(T));
    }
  };
  std::uniform_real_distribution<float> uniform(-0.1F, 0.1F);
  const auto number = [&] {
    const float v = uniform(random);
    return scale ? std::abs(v) + 0.01F : v;
  };
  switch (tensor.dtype) {
    case Dtype::kF32:
      return each([&] { return number(); });
    case Dtype::kBF16:
      return each([&] { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(number()) >> 16); });
    case Dtype::kF8E4M3:
      return each([&] {
        return static_cast<std::uint8_t>(scale ? 0x20 + random() % 0x20 : (random() % 2) << 7 | (8 + random() % 0x77));
      });
    case Dtype::kF8E8M0:
      return each([&] { return static_cast<std::uint8_t>(118 + random() % 8); });
    case Dtype::kU8:
      if (scale) return each([&] { return static_cast<std::uint8_t>(118 + random() % 8); });
      return each([&] { return static_cast<std::uint8_t>(random()); });
    case Dtype::kI64:
      return each([&] { return static_cast<std::int64_t>(random() % std::max<std::uint64_t>(1, experts)); });
    default:
      return each([&] { return static_cast<std::uint8_t>(random()); });
  }
}

// A drafter's own copies of the model's parameters have the model's values.
std::string shared_name(const std::string& name, const Architecture* architecture) {
  if (!name.starts_with("mtp.") || architecture == nullptr) return name;
  for (const ParameterSpec& spec : architecture->parameters()) {
    if (!spec.presence.falls_back_to_model) continue;
    if (name.ends_with(fmt::format(".{}", spec.official_name(BlockKind::kMtp)))) return std::string(spec.official);
  }
  return name;
}

}  // namespace

std::optional<Family> family_from_name(std::string_view name) {
  static const std::map<std::string_view, Family> kNames = {{"official", Family::kOfficial},
                                                            {"bf16", Family::kBf16},
                                                            {"w4a16", Family::kW4A16},
                                                            {"nvfp4", Family::kNvfp4},
                                                            {"modelopt", Family::kModelopt},
                                                            {"fp8", Family::kFp8},
                                                            {"huggingface", Family::kHuggingFace},
                                                            {"dspark", Family::kDspark}};
  const auto it = kNames.find(name);
  return it == kNames.end() ? std::nullopt : std::optional(it->second);
}

std::string config_json(std::string_view shape, Family family, std::uint32_t nextn) {
  ordered_json c = {{"architectures", {"DeepseekV4ForCausalLM"}}, {"model_type", "deepseek_v4"}};
  c.update(shape_fields(shape));
  const std::uint32_t drafter_layers = family == Family::kDspark ? 3 : nextn;
  for (std::uint32_t i = 0; i < drafter_layers; ++i) c["compress_ratios"].push_back(0);
  c.update(ordered_json{{"n_shared_experts", 1},
                        {"num_key_value_heads", 1},
                        {"sliding_window", 128},
                        {"hc_mult", 4},
                        {"hc_sinkhorn_iters", 20},
                        {"hc_eps", 1e-6},
                        {"rms_norm_eps", 1e-6},
                        {"rope_theta", 10000},
                        {"compress_rope_theta", 160000},
                        {"routed_scaling_factor", 1.5},
                        {"swiglu_limit", 10.0},
                        {"scoring_func", "sqrtsoftplus"},
                        {"norm_topk_prob", true},
                        {"hidden_act", "silu"},
                        {"max_position_embeddings", 1048576},
                        {"tie_word_embeddings", false},
                        {"attention_bias", false},
                        {"num_nextn_predict_layers", nextn},
                        {"torch_dtype", "bfloat16"},
                        {"rope_scaling",
                         {{"type", "yarn"},
                          {"factor", 16},
                          {"original_max_position_embeddings", 65536},
                          {"beta_fast", 32},
                          {"beta_slow", 1}}}});
  if (family == Family::kDspark) {
    c.update(ordered_json{{"dspark_block_size", 5},
                          {"dspark_markov_rank", 32},
                          {"dspark_noise_token_id", 7},
                          {"dspark_target_layer_ids", {1, 2, 3}}});
  }
  const ordered_json quantization = quantization_fields(family);
  if (!quantization.is_null()) c["quantization_config"] = quantization;
  return c.dump(2);
}

std::string inference_config_json() {
  return R"({"dim": 256, "n_layers": 2, "n_heads": 4, "head_dim": 64, "rope_head_dim": 16,
    "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "vocab_size": 128, "n_routed_experts": 4,
    "n_shared_experts": 1, "n_activated_experts": 2, "moe_inter_dim": 128, "n_hash_layers": 1, "window_size": 128,
    "compress_ratios": [4, 128, 0], "hc_mult": 4, "hc_sinkhorn_iters": 20, "index_n_heads": 4, "index_head_dim": 32,
    "index_topk": 16, "rope_theta": 10000, "compress_rope_theta": 160000, "route_scale": 1.5, "swiglu_limit": 10.0,
    "score_func": "sqrtsoftplus", "rope_factor": 16, "original_seq_len": 65536})";
}

std::vector<Checkpoint::Listed> tensor_list(const ModelConfig& config, const SyntheticOptions& options) {
  return Lister(config, options).run();
}

void write_checkpoint(const std::filesystem::path& directory, const std::vector<Checkpoint::Listed>& tensors,
                      std::string_view config, bool sparse, std::uint64_t seed) {
  std::filesystem::create_directories(directory);
  std::map<std::string, std::vector<const Checkpoint::Listed*>> files;
  ordered_json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", ordered_json::object()}};
  std::uint64_t total = 0;
  for (const Checkpoint::Listed& t : tensors) {
    files[t.file].push_back(&t);
    index["weight_map"][t.name] = t.file;
    total += tensor_bytes(t.dtype, t.shape).value_or(0);
  }
  index["metadata"]["total_size"] = total;
  const ModelConfig parsed = read_config(config).config;
  for (const auto& [name, list] : files) {
    std::map<std::string, const Checkpoint::Listed*> by_name;
    std::vector<TensorToWrite> to_write;
    for (const Checkpoint::Listed* t : list) {
      by_name[t->name] = t;
      to_write.push_back({t->name, t->dtype, t->shape});
    }
    SafetensorsWriter writer(directory / name, std::move(to_write), {{"format", "pt"}});
    for (const TensorToWrite& t : writer.tensors()) {
      const std::uint64_t bytes = *tensor_bytes(t.dtype, t.shape);
      if (sparse) {
        writer.append_zeros(bytes);
        continue;
      }
      std::vector<std::byte> data(bytes);
      std::mt19937_64 random(seed ^ std::hash<std::string>{}(shared_name(t.name, parsed.architecture)));
      fill(data, *by_name[t.name], parsed.n_routed_experts, random);
      writer.append(data);
    }
    writer.finish();
  }
  std::ofstream(directory / "config.json") << config << "\n";
  std::ofstream(directory / "model.safetensors.index.json") << index.dump(1) << "\n";
}

void write_tiny_checkpoint(const std::filesystem::path& directory, const SyntheticOptions& options) {
  const std::string config = config_json("tiny", options.family);
  write_checkpoint(directory, tensor_list(read_config(config).config, options), config, false);
}

}  // namespace outrider::synthetic
