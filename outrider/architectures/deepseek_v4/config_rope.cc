#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "outrider/architectures/deepseek_v4/config_reader.h"

namespace outrider::deepseek_v4 {
namespace {

using nlohmann::json;
using Kind = ConfigIssue::Kind;

// transformers defaults to "default".
std::string rope_type(const json& parameters) {
  for (const char* key : {"rope_type", "type"}) {
    const auto it = parameters.find(key);
    if (it != parameters.end() && it->is_string()) return it->get<std::string>();
  }
  return "default";
}

}  // namespace

// transformers uses rope_parameters.main and .compress even if rope_theta is given beside them; rope_scaling, if
// present, replaces them.
bool ConfigReader::nested_rope() const {
  if (has("rope_scaling") || !has("rope_parameters") || !root_["rope_parameters"].is_object()) return false;
  const json& rp = root_["rope_parameters"];
  return rp.contains("main") && rp["main"].is_object() && rp.contains("compress") && rp["compress"].is_object();
}

bool ConfigReader::compressed_layers_are_unscaled() const {
  return nested_rope() && rope_type(root_["rope_parameters"]["compress"]) == "default";
}

const json* ConfigReader::rope_parameters(const char* part) const {
  const auto rp = root_.find("rope_parameters");
  if (rp == root_.end() || !rp->is_object()) return nullptr;
  const auto nested = rp->find(part);
  if (nested != rp->end() && nested->is_object()) return &*nested;
  return rp->contains("main") || rp->contains("compress") ? nullptr : &*rp;
}

void ConfigReader::read_rope_dims() {
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
  // transformers truncates; the tolerance of a thousandth accepts fractions that were rounded when written.
  const auto rotated = [&](double fraction) {
    return static_cast<std::uint64_t>(
        std::clamp(std::floor(static_cast<double>(c.head_dim) * fraction + 1e-3), 0.0, 1e9));
  };
  const std::uint64_t from_factor = rotated(factor);
  if (dims != nullptr) {
    if (to_uint(*dims, "qk_rope_head_dim (rope_head_dim)", 2, kMaxDimension, c.qk_rope_head_dim) && have_factor &&
        c.head_dim != 0 && from_factor != c.qk_rope_head_dim) {
      issue(Kind::kContradiction, "qk_rope_head_dim",
            fmt::format("qk_rope_head_dim is {} but partial_rotary_factor {} of head_dim {} is {}", c.qk_rope_head_dim,
                        factor, c.head_dim, from_factor));
    }
  } else if (have_factor) {
    c.qk_rope_head_dim = from_factor;
    only_in_transformers("qk_rope_head_dim");
  } else {
    missing("qk_rope_head_dim (rope_head_dim)", "partial_rotary_factor is missing too");
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
          fmt::format("qk_rope_head_dim is {}; it must be even and at most head_dim ({})", c.qk_rope_head_dim,
                      c.head_dim));
  }
}

void ConfigReader::read_rope() {
  ModelConfig& c = out_.config;
  read_theta("rope_theta", "main", c.rope_theta);
  read_theta("compress_rope_theta", "compress", c.compress_rope_theta);
  if (nested_rope() && rope_type(root_["rope_parameters"]["main"]) != "default") {
    issue(Kind::kInvalid, "rope_parameters",
          fmt::format("rope_parameters.main has rope_type \"{}\"; DeepSeek-V4's window layers have \"default\"",
                      rope_type(root_["rope_parameters"]["main"])));
  }
  YarnScaling yarn;
  const json* scaling = nullptr;
  if (has("rope_scaling") && root_["rope_scaling"].is_object()) {
    scaling = &root_["rope_scaling"];
  } else if (const json* compress = rope_parameters("compress"); compress != nullptr && compress->contains("factor")) {
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

void ConfigReader::read_theta(const char* field, const char* part, double& out) {
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

}  // namespace outrider::deepseek_v4
