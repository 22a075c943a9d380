#include <fmt/format.h>

#include <map>

#include "outrider/check/context.h"
#include "outrider/check/spelling.h"

namespace outrider {
std::string release_of(const ModelConfig& c, bool& pruned) {
  const auto is = [&](std::uint64_t layers, std::uint64_t hidden, std::uint64_t experts) {
    if (c.num_hidden_layers != layers || c.hidden_size != hidden) return false;
    pruned = c.n_routed_experts < experts;
    return true;
  };
  if (is(43, 4096, 256)) return "DeepSeek-V4-Flash";
  if (is(61, 7168, 384)) return "DeepSeek-V4-Pro";
  return fmt::format("DeepSeek-V4 of another size ({} layers, hidden size {})", c.num_hidden_layers, c.hidden_size);
}

namespace {

// The storage form of most elements of a group; empty if there are none.
std::string main_form(const CheckReport& report, ModuleGroup group, bool drafter) {
  const GroupSummary* most = nullptr;
  for (const GroupSummary& g : report.groups) {
    if (g.group == group && g.drafter == drafter && (most == nullptr || g.elements > most->elements)) most = &g;
  }
  return most == nullptr ? "" : most->form;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string forms_of(const CheckReport& report) {
  const std::string experts = main_form(report, ModuleGroup::kExperts, false);
  const std::string attention = main_form(report, ModuleGroup::kAttention, false);
  if (report.checkpoint->names_only()) {
    return contains(experts, "MXFP4") ? "FP4 experts and FP8 by its names" : "by its names";
  }
  const bool fp8 = contains(attention, "FP8 block");
  if (contains(experts, "MXFP4")) {
    return contains(attention, "E8M0") ? "official FP4/FP8"
           : fp8                       ? "FP4/FP8"
                                       : fmt::format("FP4 experts, {} attention", attention);
  }
  const std::string mtp_experts = main_form(report, ModuleGroup::kExperts, true);
  const std::string mtp = report.drafter.kind != DrafterKind::kMtp ? ""
                          : mtp_experts == "BF16"                  ? "-MTP"
                                                                   : fmt::format(" with {} MTP", mtp_experts);
  if (contains(experts, "W4A16")) return fmt::format("W4A16{}{} (compressed-tensors)", fp8 ? "-FP8" : "", mtp);
  if (contains(experts, "modelopt")) return fmt::format("NVFP4{}{} (modelopt)", fp8 ? "-FP8" : "", mtp);
  if (contains(experts, "NVFP4")) return fmt::format("NVFP4{}{} (compressed-tensors)", fp8 ? "-FP8" : "", mtp);
  if (contains(experts, "FP8 block")) return "FP8";
  if (experts == "BF16" && attention == "BF16") return "BF16 cast";
  return experts == attention ? experts : fmt::format("{} experts, {} attention", experts, attention);
}

std::string dialect_of(const BindingReport& binding) {
  std::uint64_t official = 0;
  std::uint64_t hugging_face = 0;
  std::uint64_t prefixed = 0;
  std::uint64_t stacked = 0;
  std::uint64_t v3 = 0;
  for (const TensorName& name : binding.names) {
    if (name.kind != TensorName::Kind::kParameter) continue;
    // At the top level, transformers writes its own names beside official ones of the layers.
    if (name.block.kind != BlockKind::kTop) {
      official += name.dialect.official;
      hugging_face += name.dialect.hugging_face;
    }
    prefixed += name.dialect.model_prefix;
    stacked += name.part != ExpertPart::kNone;
    v3 += name.dialect.v3_mtp;
  }
  std::string out = official == 0 && hugging_face == 0 ? "unknown"
                    : hugging_face == 0                ? "official"
                    : official == 0                    ? "Hugging Face"
                                    : fmt::format("mixed ({} names official, {} Hugging Face)", grouped(official),
                                                  grouped(hugging_face));
  if (prefixed != 0) out += ", with the prefix model.";
  if (stacked != 0) out += ", stacked experts";
  if (v3 != 0) out += ", MTP as a layer (V3 style)";
  return out;
}

}  // namespace

void recognise_family(CheckContext& context) {
  CheckReport& report = context.report;
  const ConfigReading& reading = context.reading();
  if (reading.traits.model_type == "deepseek_v41" || reading.traits.engram) {
    report.family = "DeepSeek-V4.1";
    return;
  }
  if (reading.unsupported()) {
    report.family = fmt::format("\"{}\"", reading.traits.model_type);
    return;
  }
  bool pruned = false;
  std::string family = release_of(reading.config, pruned);
  if (context.drafter.kind == DrafterKind::kDspark) {
    family += reading.config.num_hidden_layers == 43 ? "-0731 (DSpark drafter)" : " (DSpark drafter)";
  } else if (reading.config.dspark) {
    family +=
        reading.config.num_hidden_layers == 43 ? "-0731 without its DSpark drafter" : " without its DSpark drafter";
  }
  if (reading.traits.vision) family += " with vision";
  if (pruned) family += fmt::format(", pruned to {} experts", reading.config.n_routed_experts);
  if (report.foreign) {
    family += ", " + report.foreign->name;
  } else if (report.binding != nullptr) {
    family += ", " + forms_of(report);
    report.dialect = dialect_of(*report.binding);
    const bool saved =
        report.dialect.starts_with("Hugging Face") || count_names(*report.binding)[0].saved_by_transformers();
    if (saved && report.drafter.kind == DrafterKind::kNone) {
      family += ", as save_pretrained writes it";
    }
  }
  report.family = family;
}

}  // namespace outrider
