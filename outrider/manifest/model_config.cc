#include "outrider/manifest/model_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::json;
using Kind = ConfigIssue::Kind;

// Bounds on untrusted sizes. Twenty times V4-Pro and more; products of two dimensions stay far below 2^63.
constexpr std::uint64_t kMaxDimension = 1 << 26;
constexpr std::uint64_t kMaxLayers = 4096;
constexpr std::uint64_t kMaxExperts = 65536;
constexpr std::uint64_t kMaxDrafterLayers = 64;
constexpr std::uint64_t kMaxExpertsInAllLayers = 4'000'000;

class Reader {
 public:
  explicit Reader(const json& root, ConfigReading& out) : root_(root), out_(out) {
    out_.spelling = has("dim") && !has("hidden_size") ? ConfigSpelling::kInference : ConfigSpelling::kHuggingFace;
  }

  void read(const HintSource& source) {
    read_traits();
    if (!recognise_model()) return;
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
    out_.shapes_known = shapes_known_;
  }

 private:
  bool has(const char* key) const {
    const auto it = root_.find(key);
    return it != root_.end() && !it->is_null();
  }
  bool inference() const { return out_.spelling == ConfigSpelling::kInference; }

  void issue(Kind kind, std::string field, std::string message) {
    out_.issues.push_back({kind, std::move(field), std::move(message)});
  }
  void tensors_contradict(std::string field, std::string message) {
    issue(Kind::kContradiction, std::move(field), std::move(message));
    out_.issues.back().by_tensors = true;
  }
  void drafter_issue(Kind kind, std::string field, std::string message) {
    issue(kind, std::move(field), std::move(message));
    out_.issues.back().of_drafter = true;
  }

  static std::string both_names(const char* hf, const char* official) {
    return official != nullptr && std::string_view(official) != hf ? fmt::format("{} ({})", hf, official)
                                                                   : std::string(hf);
  }

  void missing(const std::string& field, std::string why = {}) {
    issue(Kind::kMissing, field,
          fmt::format("{} is missing{}{}", field, why.empty() ? "" : ": ", why.empty() ? "" : why));
  }

  // Finds a field under its Hugging Face or inference name; says so when both are there and differ.
  const json* find(const char* hf, const char* official) {
    const bool hf_there = has(hf);
    const bool official_there = official != nullptr && has(official);
    if (hf_there && official_there && std::string_view(hf) != official && root_[hf] != root_[official]) {
      issue(Kind::kContradiction, both_names(hf, official),
            fmt::format("{} is {} but {}, the same field in the other spelling, is {}", hf, root_[hf].dump(), official,
                        root_[official].dump()));
    }
    if (hf_there) return &root_[hf];
    return official_there ? &root_[official] : nullptr;
  }

  bool to_uint(const json& value, const std::string& field, std::uint64_t low, std::uint64_t high, std::uint64_t& out) {
    std::uint64_t number = 0;
    if (value.is_number_unsigned()) {
      number = value.get<std::uint64_t>();
    } else if (value.is_number_float() && value.get<double>() >= 0 && value.get<double>() <= 9e15 &&
               std::floor(value.get<double>()) == value.get<double>()) {
      number = static_cast<std::uint64_t>(value.get<double>());
    } else {
      issue(Kind::kInvalid, field, fmt::format("{} is {}, not a whole number", field, abbreviated(value)));
      return false;
    }
    if (number < low || number > high) {
      issue(Kind::kInvalid, field, fmt::format("{} is {}, outside {}..{}", field, number, low, high));
      return false;
    }
    out = number;
    return true;
  }

  static std::string abbreviated(const json& value) {
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 60) + "…";
    return text;
  }

  // A size that some parameter's shape depends on.
  void size(const char* hf, const char* official, std::uint64_t& out, std::uint64_t low = 1,
            std::uint64_t high = kMaxDimension, bool shapes = true) {
    const json* value = find(hf, official);
    const std::string field = both_names(hf, official);
    if (value == nullptr) {
      missing(field);
      if (shapes) shapes_known_ = false;
    } else if (!to_uint(*value, field, low, high, out) && shapes) {
      shapes_known_ = false;
    }
  }

  bool number(const char* hf, const char* official, double& out, bool required = true) {
    const json* value = find(hf, official);
    if (value == nullptr) {
      if (required) missing(both_names(hf, official));
      return false;
    }
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      issue(Kind::kInvalid, hf, fmt::format("{} is {}, not a number", hf, abbreviated(*value)));
      return false;
    }
    out = value->get<double>();
    return true;
  }

  // What the forward pass computes with would not be finite beyond.
  void require_between(const char* field, double value, double low, double high) {
    if (value >= low && value <= high) return;
    issue(Kind::kInvalid, field, fmt::format("{} is {}, outside {}..{}", field, value, low, high));
  }

  std::string text(const char* key) const {
    const auto it = root_.find(key);
    return it != root_.end() && it->is_string() ? it->get<std::string>() : std::string();
  }

  void read_traits() {
    ConfigTraits& t = out_.traits;
    t.model_type = text("model_type");
    t.expert_dtype = text("expert_dtype");
    const auto it = root_.find("architectures");
    if (it != root_.end() && it->is_array() && !it->empty() && (*it)[0].is_string()) {
      t.architecture = (*it)[0].get<std::string>();
    }
    for (const auto& [key, value] : root_.items()) {
      if (key.starts_with("vision_") || key == "vision_config") t.vision = true;
      if (key.starts_with("engram_") || key == "text_config") t.engram = true;
    }
    t.has_scale_fmt = has("scale_fmt") || (has("quantization_config") && root_["quantization_config"].is_object() &&
                                           root_["quantization_config"].contains("scale_fmt"));
  }

  bool recognise_model() {
    const std::string& type = out_.traits.model_type;
    if (type == "deepseek_v41" || (type.empty() && out_.traits.engram)) {
      issue(
          Kind::kUnsupported, "model_type",
          "this is DeepSeek-V4.1 (nested text_config, engram tables), another architecture than DeepSeek-V4; Outrider "
          "does not run it");
      return false;
    }
    if (type.empty() && inference()) return true;
    if (type.empty()) {
      missing("model_type", "\"deepseek_v4\" is expected");
      return true;
    }
    if (type != "deepseek_v4") {
      issue(Kind::kUnsupported, "model_type",
            fmt::format("model_type is \"{}\"; Outrider runs \"deepseek_v4\" only", type));
      return false;
    }
    return true;
  }

  void read_sizes() {
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

  // A pruned artifact whose config.json was not told.
  void read_expert_count(const ConfigHints& hints) {
    ModelConfig& c = out_.config;
    const bool there = find("n_routed_experts", "num_local_experts") != nullptr;
    if (!there && hints.n_routed_experts) {
      missing("n_routed_experts", fmt::format("the tensors on disk say {}", *hints.n_routed_experts));
      out_.issues.back().by_tensors = true;
      c.n_routed_experts = *hints.n_routed_experts;
      return;
    }
    // transformers' configs may have its general name for it.
    size("n_routed_experts", "num_local_experts", c.n_routed_experts, 1, kMaxExperts);
    if (!hints.n_routed_experts || c.n_routed_experts == 0 || *hints.n_routed_experts == c.n_routed_experts) return;
    tensors_contradict("n_routed_experts",
                       fmt::format("n_routed_experts is {} but every layer on disk has {} experts, and a router for as "
                                   "many",
                                   c.n_routed_experts, *hints.n_routed_experts));
    c.n_routed_experts = *hints.n_routed_experts;
  }

  void read_numbers() {
    ModelConfig& c = out_.config;
    // The inference config leaves out what its code fixes.
    if (!number("hc_eps", "hc_eps", c.hc_eps, !inference())) c.hc_eps = 1e-6;
    if (!number("rms_norm_eps", "norm_eps", c.rms_norm_eps, !inference())) c.rms_norm_eps = 1e-6;
    number("routed_scaling_factor", "route_scale", c.routed_scaling_factor);
    require_between("hc_eps", c.hc_eps, 0, 1);
    require_between("rms_norm_eps", c.rms_norm_eps, 0, 1);
    require_between("routed_scaling_factor", c.routed_scaling_factor, 0, 1e6);
    number("swiglu_limit", "swiglu_limit", c.swiglu_limit);
    const json* scoring = find("scoring_func", "score_func");
    if (scoring == nullptr) {
      missing("scoring_func (score_func)");
    } else if (!scoring->is_string() ||
               (*scoring != "sqrtsoftplus" && *scoring != "sigmoid" && *scoring != "softmax")) {
      issue(Kind::kInvalid, "scoring_func",
            fmt::format("scoring_func is {}; sqrtsoftplus, sigmoid and softmax are known", abbreviated(*scoring)));
    } else {
      c.scoring_func = scoring->get<std::string>();
    }
    if (has("norm_topk_prob") && root_["norm_topk_prob"].is_boolean()) c.norm_topk_prob = root_["norm_topk_prob"];
    fixed("num_key_value_heads", 1);
    fixed("attention_bias", false);
    fixed("mlp_bias", false);
    fixed("tie_word_embeddings", false);
    fixed("hidden_act", "silu");
  }

  // A field that DeepSeek-V4 knows only one value of.
  void fixed(const char* field, const json& only) {
    if (has(field) && root_[field] != only) {
      issue(Kind::kInvalid, field,
            fmt::format("{} is {}; DeepSeek-V4 has {}", field, abbreviated(root_[field]), only.dump()));
    }
  }

  // rope_parameters.main and .compress are what transformers computes with, whatever rope_theta stands beside them; but
  // rope_scaling, where it is there, replaces them.
  bool nested_rope() const {
    if (has("rope_scaling") || !has("rope_parameters") || !root_["rope_parameters"].is_object()) return false;
    const json& rp = root_["rope_parameters"];
    return rp.contains("main") && rp["main"].is_object() && rp.contains("compress") && rp["compress"].is_object();
  }

  const json* rope_parameters(const char* part) const {
    const auto rp = root_.find("rope_parameters");
    if (rp == root_.end() || !rp->is_object()) return nullptr;
    const auto nested = rp->find(part);
    if (nested != rp->end() && nested->is_object()) return &*nested;
    return rp->contains("main") || rp->contains("compress") ? nullptr : &*rp;
  }

  void read_rope_dims() {
    ModelConfig& c = out_.config;
    const json* dims = find("qk_rope_head_dim", "rope_head_dim");
    double factor = 0;
    bool have_factor = number("partial_rotary_factor", nullptr, factor, false);
    if (const json* main = rope_parameters("main"); !have_factor && main != nullptr) {
      const auto it = main->find("partial_rotary_factor");
      if (it != main->end() && it->is_number()) {
        factor = it->get<double>();
        have_factor = true;
      }
    }
    // transformers truncates; a thousandth forgives a fraction that was written short.
    const auto rotated = [&](double fraction) {
      return static_cast<std::uint64_t>(
          std::clamp(std::floor(static_cast<double>(c.head_dim) * fraction + 1e-3), 0.0, 1e9));
    };
    const std::uint64_t from_factor = rotated(factor);
    if (dims != nullptr) {
      if (to_uint(*dims, "qk_rope_head_dim (rope_head_dim)", 2, kMaxDimension, c.qk_rope_head_dim) && have_factor &&
          c.head_dim != 0 && from_factor != c.qk_rope_head_dim) {
        issue(Kind::kContradiction, "qk_rope_head_dim",
              fmt::format("qk_rope_head_dim is {} but partial_rotary_factor {} of head_dim {} is {}",
                          c.qk_rope_head_dim, factor, c.head_dim, from_factor));
      }
    } else if (have_factor) {
      c.qk_rope_head_dim = from_factor;
      only_in_transformers("qk_rope_head_dim");
    } else {
      missing("qk_rope_head_dim (rope_head_dim)", "neither it nor partial_rotary_factor is there");
    }
    for (const char* part : {"main", "compress"}) {
      if (!nested_rope()) break;
      const json& own = root_["rope_parameters"][part];
      const auto it = own.find("partial_rotary_factor");
      if (it == own.end() || !it->is_number() || c.head_dim == 0 || c.qk_rope_head_dim == 0) continue;
      const double fraction = it->get<double>();
      if (rotated(fraction) == c.qk_rope_head_dim) continue;
      issue(Kind::kContradiction, "rope_parameters",
            fmt::format("rope_parameters.{} has partial_rotary_factor {}, which is {} of head_dim {}, but "
                        "qk_rope_head_dim is {}",
                        part, fraction, rotated(fraction), c.head_dim, c.qk_rope_head_dim));
    }
    if (c.qk_rope_head_dim % 2 != 0 || (c.head_dim != 0 && c.qk_rope_head_dim > c.head_dim)) {
      issue(Kind::kInvalid, "qk_rope_head_dim",
            fmt::format("qk_rope_head_dim is {}; an even number up to head_dim ({}) is needed", c.qk_rope_head_dim,
                        c.head_dim));
    }
  }

  void read_rope() {
    ModelConfig& c = out_.config;
    theta("rope_theta", "main", c.rope_theta);
    theta("compress_rope_theta", "compress", c.compress_rope_theta);
    if (nested_rope() && rope_type(root_["rope_parameters"]["main"]) != "default") {
      issue(Kind::kInvalid, "rope_parameters",
            fmt::format("rope_parameters.main has rope_type \"{}\"; DeepSeek-V4's window layers have \"default\"",
                        rope_type(root_["rope_parameters"]["main"])));
    }
    YarnScaling yarn;
    const json* scaling = nullptr;
    if (has("rope_scaling") && root_["rope_scaling"].is_object()) {
      scaling = &root_["rope_scaling"];
    } else if (const json* compress = rope_parameters("compress");
               compress != nullptr && compress->contains("factor")) {
      scaling = compress;
      only_in_transformers("rope_scaling");
    }
    if (scaling != nullptr) {
      const auto optional_number = [&](const char* key, double& out) {
        const auto it = scaling->find(key);
        if (it != scaling->end() && it->is_number()) out = it->get<double>();
        return it != scaling->end() && it->is_number();
      };
      const std::string type = rope_type(*scaling);
      if (type != "yarn") {
        issue(Kind::kInvalid, "rope_scaling",
              fmt::format("rope_scaling has type \"{}\"; DeepSeek-V4 has \"yarn\"", type));
      }
      double attention_factor = 1;
      if (optional_number("attention_factor", attention_factor) && attention_factor != 1) {
        issue(Kind::kInvalid, "rope_scaling",
              fmt::format("rope_scaling has attention_factor {}; DeepSeek-V4 does not scale cosines and sines (1)",
                          attention_factor));
      }
      if (!optional_number("factor", yarn.factor)) missing("rope_scaling.factor");
      optional_number("beta_fast", yarn.beta_fast);
      optional_number("beta_slow", yarn.beta_slow);
      const auto original = scaling->find("original_max_position_embeddings");
      if (original == scaling->end()) {
        missing("rope_scaling.original_max_position_embeddings");
      } else {
        to_uint(*original, "rope_scaling.original_max_position_embeddings", 1, std::uint64_t{1} << 40,
                yarn.original_max_position_embeddings);
      }
      c.yarn = yarn;
    } else if (inference() && (has("rope_factor") || has("original_seq_len"))) {
      number("rope_factor", nullptr, yarn.factor);
      number("beta_fast", nullptr, yarn.beta_fast, false);
      number("beta_slow", nullptr, yarn.beta_slow, false);
      size("original_seq_len", nullptr, yarn.original_max_position_embeddings, 1, std::uint64_t{1} << 40, false);
      c.yarn = yarn;
    }
    if (c.yarn) {
      require_between("rope_scaling.factor", c.yarn->factor, 1, 1e6);
      require_between("rope_scaling.beta_fast", c.yarn->beta_fast, 1e-3, 1e6);
      require_between("rope_scaling.beta_slow", c.yarn->beta_slow, 1e-3, 1e6);
    }
    if (const json* max = find("max_position_embeddings", nullptr); max != nullptr) {
      to_uint(*max, "max_position_embeddings", 1, std::uint64_t{1} << 40, c.max_position_embeddings);
    } else if (inference() && c.yarn) {
      c.max_position_embeddings = static_cast<std::uint64_t>(
          static_cast<double>(c.yarn->original_max_position_embeddings) * std::clamp(c.yarn->factor, 1.0, 1e6));
    } else {
      missing("max_position_embeddings");
    }
  }

  // "default" is what transformers takes where nothing is said.
  static std::string rope_type(const json& parameters) {
    for (const char* key : {"rope_type", "type"}) {
      const auto it = parameters.find(key);
      if (it != parameters.end() && it->is_string()) return it->get<std::string>();
    }
    return "default";
  }

  void theta(const char* field, const char* part, double& out) {
    const json* parameters = rope_parameters(part);
    const bool there =
        parameters != nullptr && parameters->contains("rope_theta") && (*parameters)["rope_theta"].is_number();
    if (there && (nested_rope() || !has(field))) {
      out = (*parameters)["rope_theta"];
      if (!has(field) || root_[field] != (*parameters)["rope_theta"]) only_in_transformers(field);
    } else if (!number(field, field, out, false)) {
      missing(field);
      return;
    }
    require_between(field, out, 2, 1e15);
  }

  void only_in_transformers(std::string field) { out_.traits.release_fields_lacking.push_back(std::move(field)); }

  static LayerAttention from_ratio(std::uint64_t ratio) {
    // The official code overlaps the windows, and gives the layer an indexer, exactly when the ratio is 4.
    if (ratio == 0) return {};
    return {ratio == 4 ? AttentionType::kCompressedSparse : AttentionType::kHeavilyCompressed, ratio};
  }

  std::vector<LayerAttention> layer_types() {
    std::vector<LayerAttention> layers;
    if (!has("layer_types")) return layers;
    const json& types = root_["layer_types"];
    if (!types.is_array() || types.size() > 2 * kMaxLayers) {
      issue(Kind::kInvalid, "layer_types", "layer_types is not a list of layer types");
      return layers;
    }
    const auto rate = [&](const char* name, const char* legacy, std::uint64_t preset) {
      std::uint64_t value = preset;
      if (has("compress_rates") && root_["compress_rates"].is_object() && root_["compress_rates"].contains(name)) {
        to_uint(root_["compress_rates"][name], fmt::format("compress_rates.{}", name), 1, 1 << 20, value);
      } else if (has(legacy)) {
        to_uint(root_[legacy], legacy, 1, 1 << 20, value);
      } else if (std::any_of(types.begin(), types.end(), [&](const json& t) { return t == name; })) {
        missing(fmt::format("compress_rates.{}", name), "layer_types has such layers");
      }
      return value;
    };
    const std::uint64_t csa = rate("compressed_sparse_attention", "compress_rate_csa", 4);
    const std::uint64_t hca = rate("heavily_compressed_attention", "compress_rate_hca", 128);
    for (const json& type : types) {
      if (type == "sliding_attention") {
        layers.push_back({});
      } else if (type == "compressed_sparse_attention") {
        layers.push_back({AttentionType::kCompressedSparse, csa});
      } else if (type == "heavily_compressed_attention") {
        layers.push_back({AttentionType::kHeavilyCompressed, hca});
      } else {
        issue(Kind::kInvalid, "layer_types", fmt::format("layer_types has the unknown entry {}", abbreviated(type)));
        layers.push_back({});
      }
    }
    return layers;
  }

  std::vector<LayerAttention> compress_ratios() {
    std::vector<LayerAttention> layers;
    if (!has("compress_ratios")) return layers;
    const json& ratios = root_["compress_ratios"];
    if (!ratios.is_array() || ratios.size() > 2 * kMaxLayers) {
      issue(Kind::kInvalid, "compress_ratios", "compress_ratios is not a list with one whole number per layer");
      return layers;
    }
    for (std::size_t i = 0; i < ratios.size(); ++i) {
      std::uint64_t ratio = 0;
      to_uint(ratios[i], fmt::format("compress_ratios[{}]", i), 0, 1 << 20, ratio);
      layers.push_back(from_ratio(ratio));
    }
    return layers;
  }

  static bool same(const LayerAttention& a, const LayerAttention& b) {
    return a.type == b.type && a.compress_ratio == b.compress_ratio;
  }

  void read_layers(const ConfigHints& hints) {
    ModelConfig& c = out_.config;
    const std::vector<LayerAttention> types = layer_types();
    std::vector<LayerAttention> layers = compress_ratios();
    const std::size_t count = c.num_hidden_layers;
    const bool from_ratios = !layers.empty();
    if (from_ratios && !types.empty()) {
      const std::size_t shared = std::min({layers.size(), types.size(), count});
      for (std::size_t i = 0; i < shared; ++i) {
        if (same(layers[i], types[i])) continue;
        issue(Kind::kContradiction, "compress_ratios",
              fmt::format("compress_ratios[{}] is {} but layer_types[{}] is {}", i, layers[i].compress_ratio, i,
                          attention_type_name(types[i].type)));
        break;
      }
    }
    if (!from_ratios && !types.empty()) {
      layers = types;
      only_in_transformers("compress_ratios");
    }
    if (layers.empty()) {
      if (hints.layers.size() == count && count != 0) {
        std::vector<std::uint64_t> ratios;
        for (const LayerAttention& layer : hints.layers) ratios.push_back(layer.compress_ratio);
        missing("compress_ratios | layer_types",
                fmt::format("the tensors on disk say compress_ratios [{}], plus a 0 for each MTP layer",
                            fmt::join(ratios, ", ")));
        layers = hints.layers;
      } else {
        missing("compress_ratios | layer_types");
        shapes_known_ = false;
        return;
      }
    } else if (layers.size() < count) {
      issue(Kind::kContradiction, from_ratios ? "compress_ratios" : "layer_types",
            fmt::format("{} has {} entries for num_hidden_layers {}", from_ratios ? "compress_ratios" : "layer_types",
                        layers.size(), count));
      if (hints.layers.size() == count) {
        layers = hints.layers;
      } else {
        shapes_known_ = false;
        return;
      }
    }
    const auto split = layers.begin() + static_cast<std::ptrdiff_t>(count);
    c.drafter_layers.assign(split, layers.end());
    layers.erase(split, layers.end());
    c.layers = std::move(layers);
    correct_layers(hints, from_ratios ? "compress_ratios" : "layer_types");
    const bool sparse = std::any_of(c.layers.begin(), c.layers.end(),
                                    [](const LayerAttention& l) { return l.type == AttentionType::kCompressedSparse; });
    if (sparse) {
      size("index_n_heads", "index_n_heads", c.index_n_heads);
      size("index_head_dim", "index_head_dim", c.index_head_dim);
      size("index_topk", "index_topk", c.index_topk, 1, kMaxDimension, false);
    }
    const bool compressed =
        std::any_of(c.layers.begin(), c.layers.end(), [](const LayerAttention& l) { return l.compressed(); });
    // transformers can leave the compressed layers unscaled, and says so.
    const bool unscaled = nested_rope() && rope_type(root_["rope_parameters"]["compress"]) == "default";
    if (compressed && !c.yarn && !unscaled) {
      missing(inference() ? "rope_factor and original_seq_len" : "rope_scaling | rope_parameters",
              "compressed layers need its YaRN factor");
    }
  }

  // A layer whose whole compressor is on disk is no window layer, whatever the config says.
  void correct_layers(const ConfigHints& hints, const char* field) {
    ModelConfig& c = out_.config;
    std::string first;
    std::size_t count = 0;
    for (std::size_t i = 0; i < std::min(c.layers.size(), hints.certain_layers.size()); ++i) {
      const std::optional<LayerAttention>& certain = hints.certain_layers[i];
      if (!certain || certain->type == c.layers[i].type) continue;
      if (count++ == 0) {
        first = fmt::format("{}[{}] says {}, but layer {} on disk has a compressor of {} tokens{}: {}", field, i,
                            attention_type_name(c.layers[i].type), i, certain->compress_ratio,
                            certain->type == AttentionType::kCompressedSparse ? " and an indexer" : " and no indexer",
                            attention_type_name(certain->type));
      }
      c.layers[i] = *certain;
    }
    if (count == 0) return;
    tensors_contradict(field, first + (count == 1 ? "" : fmt::format("; and {} layers more", count - 1)));
  }

  // mlp_layer_types, as a flag for each layer. Entries past the last layer are the MTP blocks'.
  std::optional<std::vector<bool>> mlp_layer_types() {
    if (!has("mlp_layer_types") || !root_["mlp_layer_types"].is_array()) return std::nullopt;
    const json& types = root_["mlp_layer_types"];
    const std::size_t layers = out_.config.num_hidden_layers;
    const std::size_t extra = types.size() - std::min(types.size(), layers);
    if (types.size() < layers || extra > kMaxDrafterLayers) {
      issue(Kind::kContradiction, "mlp_layer_types",
            fmt::format("mlp_layer_types has {} entries for num_hidden_layers {}", types.size(), layers));
      return std::nullopt;
    }
    std::vector<bool> hash(layers);
    for (std::size_t i = 0; i < types.size(); ++i) {
      const bool hashed = types[i] == "hash_moe";
      if (!hashed && types[i] != "moe") {
        issue(Kind::kInvalid, "mlp_layer_types",
              fmt::format("mlp_layer_types[{}] is {}; hash_moe and moe are known", i, abbreviated(types[i])));
        return std::nullopt;
      }
      if (i < layers) {
        hash[i] = hashed;
      } else if (hashed) {
        drafter_issue(
            Kind::kContradiction, "mlp_layer_types",
            fmt::format("mlp_layer_types[{}] is hash_moe, but a drafting layer chooses its experts by score (moe)", i));
      }
    }
    return hash;
  }

  void read_hash_layers(const ConfigHints& hints) {
    ModelConfig& c = out_.config;
    const std::optional<std::vector<bool>> types = mlp_layer_types();
    const json* number = find("num_hash_layers", "n_hash_layers");
    c.hash_layers.assign(c.num_hidden_layers, false);
    if (number != nullptr) {
      std::uint64_t count = 0;
      if (!to_uint(*number, "num_hash_layers (n_hash_layers)", 0, kMaxLayers, count)) shapes_known_ = false;
      if (count > c.num_hidden_layers && c.num_hidden_layers != 0) {
        issue(Kind::kContradiction, "num_hash_layers",
              fmt::format("num_hash_layers is {} but there are only {} layers", count, c.num_hidden_layers));
        shapes_known_ = false;
        return;
      }
      std::fill_n(c.hash_layers.begin(), std::min(count, c.num_hidden_layers), true);
      if (types && *types != c.hash_layers) {
        issue(Kind::kContradiction, "num_hash_layers",
              fmt::format("num_hash_layers is {} but mlp_layer_types has hash_moe in other layers than the first {}",
                          count, count));
      }
    } else if (types) {
      c.hash_layers = *types;
      only_in_transformers("num_hash_layers");
    } else if (hints.hash_layers) {
      c.hash_layers = *hints.hash_layers;
      const std::optional<std::uint64_t> count = c.num_hash_layers();
      missing("num_hash_layers (n_hash_layers)",
              count ? fmt::format("the tensors on disk say {} (layers with gate.tid2eid)", *count)
                    : "other layers than the first ones have gate.tid2eid, which only mlp_layer_types can say");
    } else {
      missing("num_hash_layers (n_hash_layers)", "neither it nor mlp_layer_types is there");
      shapes_known_ = false;
    }
    if (!hints.certain_hash_layers || (number == nullptr && !types) || *hints.certain_hash_layers == c.hash_layers)
      return;
    const auto differs = std::ranges::mismatch(*hints.certain_hash_layers, c.hash_layers).in1;
    const auto layer = differs - hints.certain_hash_layers->begin();
    tensors_contradict(
        number != nullptr ? "num_hash_layers" : "mlp_layer_types",
        fmt::format("{} says that layer {} is {}routed by token id, but on disk it has {}",
                    number != nullptr ? "num_hash_layers" : "mlp_layer_types", layer, *differs ? "not " : "",
                    *differs ? "gate.tid2eid" : "gate.bias and no gate.tid2eid"));
    c.hash_layers = *hints.certain_hash_layers;
  }

  void read_nextn(const ConfigHints& hints) {
    ModelConfig& c = out_.config;
    const json* value = find("num_nextn_predict_layers", "n_mtp_layers");
    if (value != nullptr) {
      if (!to_uint(*value, "num_nextn_predict_layers (n_mtp_layers)", 0, kMaxDrafterLayers,
                   c.num_nextn_predict_layers)) {
        shapes_known_ = false;
      }
    } else if (inference() && !c.drafter_layers.empty()) {
      // The inference config may leave n_mtp_layers out: compress_ratios has one entry for each drafting layer.
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

  void read_dspark() {
    if (!has("dspark_block_size") && !has("dspark_markov_rank") && !has("dspark_target_layer_ids")) return;
    DsparkConfig d;
    if (has("dspark_block_size")) to_uint(root_["dspark_block_size"], "dspark_block_size", 1, 4096, d.block_size);
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

  void read_quantization() {
    // "quantization" is MLX's, "compression_config" what compressed-tensors wrote at first.
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
        if (to_uint(b, "quantization_config.weight_block_size", 1, 1 << 20, value))
          q.weight_block_size.push_back(value);
      }
    }
    out_.config.quantization = std::move(q);
  }

  void check_consistency() {
    ModelConfig& c = out_.config;
    const auto contradiction = [&](const char* field, std::string message) {
      issue(Kind::kContradiction, field, std::move(message));
    };
    if (c.num_experts_per_tok > c.n_routed_experts && c.n_routed_experts != 0) {
      contradiction("num_experts_per_tok", fmt::format("num_experts_per_tok is {} but there are only {} routed experts",
                                                       c.num_experts_per_tok, c.n_routed_experts));
    }
    if (c.o_groups != 0 && c.num_attention_heads % c.o_groups != 0) {
      contradiction("o_groups", fmt::format("{} attention heads cannot be split into o_groups {}",
                                            c.num_attention_heads, c.o_groups));
      shapes_known_ = false;
    }
    if (c.n_routed_experts * (c.num_hidden_layers + 64) > kMaxExpertsInAllLayers) {
      issue(Kind::kInvalid, "n_routed_experts",
            fmt::format("{} experts in each of {} layers is beyond anything that exists; refusing to plan for it",
                        c.n_routed_experts, c.num_hidden_layers));
      shapes_known_ = false;
    }
    // A DSpark drafter has stages of its own number, whatever num_nextn_predict_layers says.
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

  const json& root_;
  ConfigReading& out_;
  bool shapes_known_ = true;
};

}  // namespace

std::optional<std::uint64_t> ModelConfig::num_hash_layers() const {
  const auto end = std::find(hash_layers.begin(), hash_layers.end(), false);
  if (std::find(end, hash_layers.end(), true) != hash_layers.end()) return std::nullopt;
  return static_cast<std::uint64_t>(end - hash_layers.begin());
}

std::array<std::uint64_t, 2> ModelConfig::fp8_block() const {
  if (!quantization || quantization->weight_block_size.size() != 2) return {128, 128};
  return {quantization->weight_block_size[0], quantization->weight_block_size[1]};
}

bool ConfigReading::unsupported() const {
  return std::any_of(issues.begin(), issues.end(), [](const ConfigIssue& i) { return i.kind == Kind::kUnsupported; });
}

std::string_view attention_type_name(AttentionType type) {
  switch (type) {
    case AttentionType::kWindow:
      return "sliding_attention";
    case AttentionType::kCompressedSparse:
      return "compressed_sparse_attention";
    case AttentionType::kHeavilyCompressed:
      return "heavily_compressed_attention";
  }
  return "";
}

ConfigReading read_config(std::string_view text, const HintSource& hints) {
  const json root = parse_bounded_json(text, "config.json", kRestoreTheFile);
  if (!root.is_object()) throw Error("config.json: not a JSON object. Restore it from the checkpoint's source.");
  ConfigReading out;
  Reader(root, out).read(hints);
  return out;
}

}  // namespace outrider
