#include "outrider/check/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::json;

// llama.cpp's key below the architecture's name, and config.json's field. (gguf-py/gguf/constants.py, and the loader
// in src/models/deepseek4.cpp, which requires all but the last.)
struct Key {
  const char* gguf;
  const char* field;
  bool required = true;
};
constexpr Key kKeys[] = {
    {"embedding_length", "hidden_size"},
    {"context_length", "max_position_embeddings"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.output_group_count", "o_groups"},
    {"attention.output_lora_rank", "o_lora_rank"},
    {"attention.compress_rope_freq_base", "compress_rope_theta"},
    {"attention.indexer.head_count", "index_n_heads"},
    {"attention.indexer.key_length", "index_head_dim"},
    {"attention.indexer.top_k", "index_topk"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"swiglu_clamp_exp", "swiglu_limit"},
    {"hyper_connection.count", "hc_mult"},
    {"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
    {"hyper_connection.epsilon", "hc_eps"},
    {"hash_layer_count", "num_hash_layers"},
    {"attention.head_count_kv", "num_key_value_heads", false},
};
constexpr std::uint64_t kSqrtSoftplus = 4;  // llama_expert_gating_func_type

class Reader {
 public:
  Reader(const GgufModel& model, const Architecture& architecture)
      : model_(model), header_(model.metadata()), architecture_(architecture) {}

  GgufConfig read() {
    config_ = {{"model_type", architecture_.model_type}};
    for (const Key& key : kKeys) take(key);
    take_vocabulary();
    take_router();
    take_rope();
    take_blocks();
    take_ratios();
    out_.reading = read_config(config_.dump());
    tell_issues();
    return std::move(out_);
  }

 private:
  std::string full(std::string_view key) const { return fmt::format("{}.{}", architecture_.gguf_name, key); }

  const json* find(std::string_view key) const {
    const auto it = header_.metadata.find(full(key));
    return it == header_.metadata.end() ? nullptr : &it->second;
  }

  std::uint64_t number(std::string_view key, bool required) {
    const json* value = find(key);
    if (value == nullptr && required) out_.missing.push_back(full(key));
    return value != nullptr && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
  }

  // A list has one number for each block; config.json has one for all.
  void take(const Key& key) {
    const json* value = find(key.gguf);
    if (value == nullptr) {
      if (key.required) out_.missing.push_back(full(key.gguf));
      return;
    }
    const bool equal = value->is_array() && !value->empty() &&
                       std::ranges::all_of(*value, [&](const json& entry) { return entry == value->front(); });
    config_[key.field] = equal ? value->front() : *value;
  }

  void take_vocabulary() {
    const json* size = find("vocab_size");
    if (size != nullptr) {
      config_["vocab_size"] = *size;
      if (header_.vocabulary != 0 && *size != header_.vocabulary) {
        out_.faults.push_back(fmt::format("{} is {} but tokenizer.ggml.tokens has {} entries", full("vocab_size"),
                                          size->dump(), header_.vocabulary));
      }
    } else if (header_.vocabulary != 0) {
      config_["vocab_size"] = header_.vocabulary;
    } else {
      out_.missing.push_back(full("vocab_size"));
    }
  }

  void take_router() {
    config_["scoring_func"] = "sqrtsoftplus";
    const json* function = find("expert_gating_func");
    if (function == nullptr) {
      out_.missing.push_back(full("expert_gating_func"));
    } else if (*function != kSqrtSoftplus) {
      out_.faults.push_back(fmt::format("{} is {}; llama.cpp runs DeepSeek-V4 with {} (sqrtsoftplus) only",
                                        full("expert_gating_func"), function->dump(), kSqrtSoftplus));
    }
  }

  void take_rope() {
    const json* dimensions = find("rope.dimension_count");
    const json* base = find("rope.freq_base");
    if (dimensions == nullptr) dimensions = find("attention.key_length");  // llama.cpp's defaults
    if (dimensions != nullptr) config_["qk_rope_head_dim"] = *dimensions;
    config_["rope_theta"] = base != nullptr ? *base : json(10000.0);
    const json* type = find("rope.scaling.type");
    if (type == nullptr || *type != "yarn") return;
    json scaling = {{"type", "yarn"}};
    const std::pair<const char*, const char*> fields[] = {
        {"rope.scaling.factor", "factor"},
        {"rope.scaling.original_context_length", "original_max_position_embeddings"},
        {"rope.scaling.yarn_beta_fast", "beta_fast"},
        {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (const auto& [key, field] : fields) {
      if (const json* value = find(key)) scaling[field] = *value;
    }
    config_["rope_scaling"] = std::move(scaling);
  }

  // As llama.cpp decides it: the last nextn_predict_layers blocks are the drafter's, if they have nextn tensors.
  void take_blocks() {
    out_.blocks = number("block_count", true);
    out_.announced = number("nextn_predict_layers", false);
    std::uint64_t layers = out_.blocks;
    if (out_.announced >= out_.blocks && out_.announced != 0) {
      out_.faults.push_back(fmt::format("{} is {} but {} is {}: no layer is left for the model",
                                        full("nextn_predict_layers"), out_.announced, full("block_count"),
                                        out_.blocks));
      out_.announced = 0;
    }
    const std::uint64_t first = out_.blocks - out_.announced;
    bool any_before = false;
    bool any_after = false;
    bool any_nextn = false;
    for (const GgufFile& file : model_.files) {
      for (const GgufTensor& tensor : file.header.tensors) {
        const auto block = gguf_block(tensor.name);
        if (!block) continue;
        (*block < first ? any_before : any_after) = true;
        any_nextn = any_nextn || tensor.name.find(".nextn.") != std::string::npos;
      }
    }
    if (out_.announced != 0 && any_nextn) {
      out_.drafting = out_.announced;
      out_.drafter_only = !any_before;
      layers = first;
    } else if (out_.announced != 0) {
      out_.dropped = fmt::format(
          "{} is {} but no tensor is called blk.{}.nextn.*: llama.cpp switches MTP off without "
          "a message",
          full("nextn_predict_layers"), out_.announced, first);
      if (!any_after) {
        layers = first;
        out_.faults.push_back(
            fmt::format("{} is {} but there are no tensors of blk.{}: llama.cpp takes the absent "
                        "drafter for layers of the model, and stops",
                        full("block_count"), out_.blocks, first));
      }
    }
    config_["num_hidden_layers"] = layers;
    config_["num_nextn_predict_layers"] = out_.drafting;
  }

  void take_ratios() {
    const json* ratios = find("attention.compress_ratios");
    if (ratios == nullptr || !ratios->is_array()) {
      out_.missing.push_back(full("attention.compress_ratios"));
      return;
    }
    if (ratios->size() < out_.blocks) {
      out_.faults.push_back(fmt::format("{} has {} entries for {} blocks", full("attention.compress_ratios"),
                                        ratios->size(), out_.blocks));
    }
    const std::uint64_t layers = config_["num_hidden_layers"];
    if (ratios->size() > layers && out_.drafting == 0 && out_.dropped.empty()) {
      out_.dropped = fmt::format(
          "{} has {} entries for {} layers, so the model has a drafter, but the file has "
          "neither its tensors nor {}. llama.cpp's converter leaves it out, and writes it to a "
          "file of its own with --mtp or --dspark",
          full("attention.compress_ratios"), ratios->size(), layers, full("nextn_predict_layers"));
    }
    json used = json::array();
    for (const json& ratio : *ratios) {
      if (used.size() == layers + out_.drafting) break;
      if (ratio != 0 && ratio != 4 && ratio != 128) {
        out_.faults.push_back(fmt::format("{} has the entry {}; llama.cpp knows 0, 4 and 128",
                                          full("attention.compress_ratios"), ratio.dump()));
      }
      used.push_back(ratio);
    }
    config_["compress_ratios"] = std::move(used);
  }

  // The reader's issues, but for fields whose keys are told as missing.
  void tell_issues() {
    for (const ConfigIssue& issue : out_.reading.issues) {
      if (issue.kind == ConfigIssue::Kind::kMissing && !out_.missing.empty()) continue;
      const Key* key = std::ranges::find_if(kKeys, [&](const Key& k) { return issue.field.starts_with(k.field); });
      out_.faults.push_back(key == std::end(kKeys) ? issue.message
                                                   : fmt::format("{} ({})", issue.message, full(key->gguf)));
    }
  }

  const GgufModel& model_;
  const GgufHeader& header_;
  const Architecture& architecture_;
  json config_;
  GgufConfig out_;
};

}  // namespace

std::optional<std::uint64_t> gguf_block(std::string_view tensor) {
  if (!tensor.starts_with("blk.")) return std::nullopt;
  tensor.remove_prefix(4);
  std::uint64_t block = 0;
  const auto [end, error] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), block);
  if (error != std::errc() || end == tensor.data() + tensor.size() || *end != '.') return std::nullopt;
  return block;
}

GgufConfig read_gguf_config(const GgufModel& model, const Architecture& architecture) {
  return Reader(model, architecture).read();
}

}  // namespace outrider
