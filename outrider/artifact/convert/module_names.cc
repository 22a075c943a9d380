#include "outrider/artifact/convert/module_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace outrider {
namespace {

using Pieces = std::vector<std::string_view>;

constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kPieces = {{{"attn", "self_attn"},
                                                                                    {"ffn", "mlp"},
                                                                                    {"wq_a", "q_a_proj"},
                                                                                    {"wq_b", "q_b_proj"},
                                                                                    {"wkv", "kv_proj"},
                                                                                    {"wo_a", "o_a_proj"},
                                                                                    {"wo_b", "o_b_proj"},
                                                                                    {"wgate", "gate_proj"},
                                                                                    {"w1", "gate_proj"},
                                                                                    {"w2", "down_proj"},
                                                                                    {"w3", "up_proj"},
                                                                                    {"embed", "embed_tokens"},
                                                                                    {"head", "lm_head"}}};

Pieces split(std::string_view name) {
  Pieces out;
  while (true) {
    const std::size_t dot = name.find('.');
    out.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) return out;
    name.remove_prefix(dot + 1);
  }
}

bool contains(const Pieces& pieces, std::string_view piece) {
  return std::find(pieces.begin(), pieces.end(), piece) != pieces.end();
}

Pieces to_hugging_face(const Pieces& from) {
  Pieces out;
  if (from[0] == "layers" || from[0] == "mtp" || from[0] == "embed") out.emplace_back("model");
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::string_view piece = from[i];
    if (piece == "indexer") {
      // There the indexer is nested in the compressor, and its own compressor's parts in the indexer.
      for (const std::string_view made : {"compressor", "indexer"}) out.push_back(made);
      if (i + 1 < from.size() && from[i + 1] == "compressor") ++i;
    } else if (piece == "weights_proj") {
      for (const std::string_view made : {"scorer", "weights_proj"}) out.push_back(made);
    } else {
      const auto* known = std::find_if(kPieces.begin(), kPieces.end(), [&](const auto& p) { return p.first == piece; });
      out.push_back(known == kPieces.end() ? piece : known->second);
    }
  }
  return out;
}

Pieces to_official(const Pieces& from) {
  Pieces out;
  const bool attention = contains(from, "self_attn") || contains(from, "compressor");
  for (std::size_t i = from[0] == "model" ? 1 : 0; i < from.size(); ++i) {
    const std::string_view piece = from[i];
    if (piece == "compressor" && i + 1 < from.size() && from[i + 1] == "indexer") {
      out.emplace_back("indexer");
      ++i;
      const std::string_view leaf = i + 1 < from.size() ? from[i + 1] : "";
      if (leaf == "kv_proj" || leaf == "gate_proj") out.emplace_back("compressor");
    } else if (piece == "gate_proj") {
      out.emplace_back(attention ? "wgate" : "w1");
    } else if (piece != "scorer") {
      const auto* known =
          std::find_if(kPieces.begin(), kPieces.end(), [&](const auto& p) { return p.second == piece; });
      out.push_back(known == kPieces.end() ? piece : known->first);
    }
  }
  return out;
}

}  // namespace

std::string module_in_dialect(std::string_view name, Dialect to) {
  const Pieces pieces = split(name);
  const Pieces made = to == Dialect::kHuggingFace ? to_hugging_face(pieces) : to_official(pieces);
  return fmt::format("{}", fmt::join(made, "."));
}

}  // namespace outrider
