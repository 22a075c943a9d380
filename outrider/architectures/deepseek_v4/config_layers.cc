#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "outrider/architectures/deepseek_v4/config_reader.h"

namespace outrider::deepseek_v4 {
namespace {

using nlohmann::json;
using Kind = ConfigIssue::Kind;

LayerAttention from_ratio(std::uint64_t ratio) {
  // The official code overlaps the windows, and gives the layer an indexer, exactly when the ratio is 4.
  if (ratio == 0) return {};
  return {ratio == 4 ? AttentionType::kCompressedSparse : AttentionType::kHeavilyCompressed, ratio};
}

bool same(const LayerAttention& a, const LayerAttention& b) {
  return a.type == b.type && a.compress_ratio == b.compress_ratio;
}

}  // namespace

std::vector<LayerAttention> ConfigReader::layer_types() {
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

std::vector<LayerAttention> ConfigReader::compress_ratios() {
  std::vector<LayerAttention> layers;
  if (!has("compress_ratios")) return layers;
  const json& ratios = root_["compress_ratios"];
  if (!ratios.is_array() || ratios.size() > 2 * kMaxLayers) {
    issue(Kind::kInvalid, "compress_ratios", "compress_ratios is not a list with one integer per layer");
    return layers;
  }
  for (std::size_t i = 0; i < ratios.size(); ++i) {
    std::uint64_t ratio = 0;
    to_uint(ratios[i], fmt::format("compress_ratios[{}]", i), 0, 1 << 20, ratio);
    layers.push_back(from_ratio(ratio));
  }
  return layers;
}

void ConfigReader::read_layers(const ConfigHints& hints) {
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
      out_.shapes_known = false;
      return;
    }
  } else if (layers.size() < count) {
    issue(Kind::kContradiction, from_ratios ? "compress_ratios" : "layer_types",
          fmt::format("{} has {} entries for num_hidden_layers {}", from_ratios ? "compress_ratios" : "layer_types",
                      layers.size(), count));
    if (hints.layers.size() == count) {
      layers = hints.layers;
    } else {
      out_.shapes_known = false;
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
  if (compressed && !c.yarn && !compressed_layers_are_unscaled()) {
    missing(inference() ? "rope_factor and original_seq_len" : "rope_scaling | rope_parameters",
            "compressed layers need its YaRN factor");
  }
}

// A layer whose compressor is complete on disk is not a window layer, whatever the config says.
void ConfigReader::correct_layers(const ConfigHints& hints, const char* field) {
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
  tensors_contradict(field, first + (count == 1 ? "" : fmt::format("; and {} more layers", count - 1)));
}

// mlp_layer_types as one flag per layer. Entries past the last layer describe the MTP blocks.
std::optional<std::vector<bool>> ConfigReader::mlp_layer_types() {
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

void ConfigReader::read_hash_layers(const ConfigHints& hints) {
  ModelConfig& c = out_.config;
  const std::optional<std::vector<bool>> types = mlp_layer_types();
  const json* number = find("num_hash_layers", "n_hash_layers");
  c.hash_layers.assign(c.num_hidden_layers, false);
  if (number != nullptr) {
    std::uint64_t count = 0;
    if (!to_uint(*number, "num_hash_layers (n_hash_layers)", 0, kMaxLayers, count)) out_.shapes_known = false;
    if (count > c.num_hidden_layers && c.num_hidden_layers != 0) {
      issue(Kind::kContradiction, "num_hash_layers",
            fmt::format("num_hash_layers is {} but there are only {} layers", count, c.num_hidden_layers));
      out_.shapes_known = false;
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
                  : "other layers than the first ones have gate.tid2eid, which only mlp_layer_types can express");
  } else {
    missing("num_hash_layers (n_hash_layers)", "mlp_layer_types is missing too");
    out_.shapes_known = false;
  }
  if (!hints.certain_hash_layers || (number == nullptr && !types) || *hints.certain_hash_layers == c.hash_layers)
    return;
  const auto differs = std::ranges::mismatch(*hints.certain_hash_layers, c.hash_layers).in1;
  const auto layer = differs - hints.certain_hash_layers->begin();
  tensors_contradict(number != nullptr ? "num_hash_layers" : "mlp_layer_types",
                     fmt::format("{} says that layer {} is {}routed by token id, but on disk it has {}",
                                 number != nullptr ? "num_hash_layers" : "mlp_layer_types", layer,
                                 *differs ? "not " : "", *differs ? "gate.tid2eid" : "gate.bias and no gate.tid2eid"));
  c.hash_layers = *hints.certain_hash_layers;
}

}  // namespace outrider::deepseek_v4
