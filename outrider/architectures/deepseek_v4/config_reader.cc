#include "outrider/architectures/deepseek_v4/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace outrider::deepseek_v4 {
namespace {

using nlohmann::json;
using Kind = ConfigIssue::Kind;

constexpr std::uint64_t kMaxExperts = 65536;
constexpr std::uint64_t kMaxExpertsInAllLayers = 4'000'000;

}  // namespace

void ConfigReader::read(const HintSource& source) {
  read_sizes();
  const ConfigHints hints = source ? source(out_.config.num_hidden_layers) : ConfigHints();
  read_expert_count(hints);
  read_numbers();
  read_rope_dims();
  read_rope();
  read_layers(hints);
  read_hash_layers(hints);
  read_nextn(hints);
  read_dspark();
  read_quantization();
  check_consistency();
}

void ConfigReader::read_sizes() {
  ModelConfig& c = out_.config;
  size("vocab_size", "vocab_size", c.vocab_size);
  size("hidden_size", "dim", c.hidden_size);
  size("num_hidden_layers", "n_layers", c.num_hidden_layers, 1, kMaxLayers);
  size("num_attention_heads", "n_heads", c.num_attention_heads);
  size("head_dim", "head_dim", c.head_dim);
  size("q_lora_rank", "q_lora_rank", c.q_lora_rank);
  size("o_groups", "o_groups", c.o_groups);
  size("o_lora_rank", "o_lora_rank", c.o_lora_rank);
  size("n_shared_experts", "n_shared_experts", c.n_shared_experts, 1, 1024);
  size("num_experts_per_tok", "n_activated_experts", c.num_experts_per_tok, 1, kMaxExperts);
  size("moe_intermediate_size", "moe_inter_dim", c.moe_intermediate_size);
  size("hc_mult", "hc_mult", c.hc_mult, 1, 64);
  size("hc_sinkhorn_iters", "hc_sinkhorn_iters", c.hc_sinkhorn_iters, 1, 10000, false);
  size("sliding_window", "window_size", c.sliding_window, 1, kMaxDimension, false);
}

// Detects a pruned artifact whose config.json was not updated.
void ConfigReader::read_expert_count(const ConfigHints& hints) {
  ModelConfig& c = out_.config;
  const bool there = find("n_routed_experts", "num_local_experts") != nullptr;
  if (!there && hints.n_routed_experts) {
    missing("n_routed_experts", fmt::format("the tensors on disk say {}", *hints.n_routed_experts));
    out_.issues.back().by_tensors = true;
    c.n_routed_experts = *hints.n_routed_experts;
    return;
  }
  // transformers' configs may use its general name for the field.
  size("n_routed_experts", "num_local_experts", c.n_routed_experts, 1, kMaxExperts);
  if (!hints.n_routed_experts || c.n_routed_experts == 0 || *hints.n_routed_experts == c.n_routed_experts) return;
  tensors_contradict("n_routed_experts",
                     fmt::format("n_routed_experts is {} but every layer on disk has {} experts, and a router for as "
                                 "many",
                                 c.n_routed_experts, *hints.n_routed_experts));
  c.n_routed_experts = *hints.n_routed_experts;
}

void ConfigReader::read_numbers() {
  ModelConfig& c = out_.config;
  // The inference config leaves out values that its code fixes.
  if (!number("hc_eps", "hc_eps", c.hc_eps, !inference())) c.hc_eps = 1e-6;
  if (!number("rms_norm_eps", "norm_eps", c.rms_norm_eps, !inference())) c.rms_norm_eps = 1e-6;
  number("routed_scaling_factor", "route_scale", c.routed_scaling_factor);
  require_between("hc_eps", c.hc_eps, 0, 1);
  require_between("rms_norm_eps", c.rms_norm_eps, 0, 1);
  require_between("routed_scaling_factor", c.routed_scaling_factor, 0, 1e6);
  number("swiglu_limit", "swiglu_limit", c.swiglu_limit);
  read_router();
  fixed("num_key_value_heads", 1);
  fixed("attention_bias", false);
  fixed("mlp_bias", false);
  fixed("tie_word_embeddings", false);
  fixed("hidden_act", "silu");
}

void ConfigReader::read_router() {
  ModelConfig& c = out_.config;
  const json* scoring = find("scoring_func", "score_func");
  if (scoring == nullptr) {
    missing("scoring_func (score_func)");
  } else if (!scoring->is_string() || (*scoring != "sqrtsoftplus" && *scoring != "sigmoid" && *scoring != "softmax")) {
    issue(Kind::kInvalid, "scoring_func",
          fmt::format("scoring_func is {}; sqrtsoftplus, sigmoid and softmax are known", abbreviated(*scoring)));
  } else {
    c.scoring_func = scoring->get<std::string>();
  }
  // DeepSeek's code has no such field, and transformers does not read it: both always divide, unless the scores are
  // softmax's.
  const json* normalised = find("norm_topk_prob", nullptr);
  if (normalised == nullptr || *normalised == true) return;
  if (*normalised == false && c.scoring_func == "softmax") {
    c.norm_topk_prob = false;
    return;
  }
  issue(Kind::kInvalid, "norm_topk_prob",
        fmt::format("norm_topk_prob is {}, but DeepSeek-V4's router always divides the weights of a token's experts "
                    "by their sum; DeepSeek's code and transformers ignore this field. Set it to true",
                    abbreviated(*normalised)));
}

// A field that has one valid value in DeepSeek-V4.
void ConfigReader::fixed(const char* field, const json& only) {
  if (has(field) && root_[field] != only) {
    issue(Kind::kInvalid, field,
          fmt::format("{} is {}; DeepSeek-V4 has {}", field, abbreviated(root_[field]), only.dump()));
  }
}

void ConfigReader::read_nextn(const ConfigHints& hints) {
  ModelConfig& c = out_.config;
  const json* value = find("num_nextn_predict_layers", "n_mtp_layers");
  if (value != nullptr) {
    if (!to_uint(*value, "num_nextn_predict_layers (n_mtp_layers)", 0, kMaxDrafterLayers, c.num_nextn_predict_layers)) {
      out_.shapes_known = false;
    }
  } else if (inference() && !c.drafter_layers.empty()) {
    // The inference config may omit n_mtp_layers: compress_ratios has one entry for each drafting layer.
    c.num_nextn_predict_layers = c.drafter_layers.size();
  } else {
    std::string why;
    if (hints.num_nextn_predict_layers) {
      why = fmt::format("the tensors on disk say {}", *hints.num_nextn_predict_layers);
      c.num_nextn_predict_layers = *hints.num_nextn_predict_layers;
    }
    missing("num_nextn_predict_layers (n_mtp_layers)", why);
    out_.issues.back().of_drafter = true;
  }
}

void ConfigReader::read_dspark() {
  if (!has("dspark_block_size") && !has("dspark_markov_rank") && !has("dspark_target_layer_ids")) return;
  DsparkConfig d;
  if (has("dspark_block_size")) to_uint(root_["dspark_block_size"], "dspark_block_size", 1, 4096, d.block_size);
  if (has("dspark_noise_token_id")) {
    to_uint(root_["dspark_noise_token_id"], "dspark_noise_token_id", 0, kMaxDimension, d.noise_token);
  }
  if (has("dspark_markov_rank")) {
    to_uint(root_["dspark_markov_rank"], "dspark_markov_rank", 1, kMaxDimension, d.markov_rank);
  }
  if (has("dspark_target_layer_ids") && root_["dspark_target_layer_ids"].is_array() &&
      root_["dspark_target_layer_ids"].size() <= kMaxLayers) {
    for (const json& id : root_["dspark_target_layer_ids"]) {
      std::uint64_t layer = 0;
      if (to_uint(id, "dspark_target_layer_ids", 0, kMaxLayers, layer)) d.target_layer_ids.push_back(layer);
    }
  }
  out_.config.dspark = std::move(d);
}

void ConfigReader::read_quantization() {
  // MLX writes "quantization"; early versions of compressed-tensors wrote "compression_config".
  const json* object = nullptr;
  for (const char* key : {"quantization_config", "compression_config", "quantization"}) {
    if (object == nullptr && has(key)) object = &root_[key];
  }
  if (object == nullptr) {
    if (inference() && has("scale_fmt")) {
      QuantizationConfig q;
      if (text("dtype") != "bf16") q.quant_method = text("dtype");
      q.scale_fmt = text("scale_fmt");
      out_.config.quantization = std::move(q);
    }
    return;
  }
  if (!object->is_object()) {
    issue(Kind::kInvalid, "quantization_config", "quantization_config is not an object");
    return;
  }
  QuantizationConfig q = outrider::read_quantization(*object);
  if (const auto block = object->find("weight_block_size");
      block != object->end() && block->is_array() && block->size() <= 8) {
    for (const json& b : *block) {
      std::uint64_t value = 0;
      if (to_uint(b, "quantization_config.weight_block_size", 1, 1 << 20, value)) q.weight_block_size.push_back(value);
    }
  }
  out_.config.quantization = std::move(q);
}

void ConfigReader::check_consistency() {
  ModelConfig& c = out_.config;
  const auto contradiction = [&](const char* field, std::string message) {
    issue(Kind::kContradiction, field, std::move(message));
  };
  if (c.num_experts_per_tok > c.n_routed_experts && c.n_routed_experts != 0) {
    contradiction("num_experts_per_tok", fmt::format("num_experts_per_tok is {} but there are only {} routed experts",
                                                     c.num_experts_per_tok, c.n_routed_experts));
  }
  if (c.o_groups != 0 && c.num_attention_heads % c.o_groups != 0) {
    contradiction("o_groups", fmt::format("{} attention heads cannot be split into o_groups {}", c.num_attention_heads,
                                          c.o_groups));
    out_.shapes_known = false;
  }
  if (c.n_routed_experts * (c.num_hidden_layers + 64) > kMaxExpertsInAllLayers) {
    issue(Kind::kInvalid, "n_routed_experts",
          fmt::format("{} experts in each of {} layers exceeds the supported maximum", c.n_routed_experts,
                      c.num_hidden_layers));
    out_.shapes_known = false;
  }
  // The number of DSpark stages is independent of num_nextn_predict_layers.
  const std::size_t extra = c.drafter_layers.size();
  if (!c.dspark && has("compress_ratios") && extra != 0 && extra != c.num_nextn_predict_layers) {
    drafter_issue(
        Kind::kContradiction, "compress_ratios",
        fmt::format("compress_ratios has {} entries: {} layers and {} more, but num_nextn_predict_layers is {}",
                    c.num_hidden_layers + extra, c.num_hidden_layers, extra, c.num_nextn_predict_layers));
  }
  for (std::size_t i = 0; i < extra; ++i) {
    if (!c.drafter_layers[i].compressed()) continue;
    drafter_issue(Kind::kContradiction, "compress_ratios",
                  fmt::format("compress_ratios[{}] is {}, but a drafting layer is a sliding-window layer (0)",
                              c.num_hidden_layers + i, c.drafter_layers[i].compress_ratio));
  }
}

}  // namespace outrider::deepseek_v4
