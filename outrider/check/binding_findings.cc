#include <fmt/format.h>

#include <map>
#include <set>

#include "outrider/check/context.h"
#include "outrider/check/spelling.h"

namespace outrider {

using FaultKind = BindingFault::Kind;

Code code_of(const BindingFault& fault, const Parameter& parameter) {
  switch (fault.kind) {
    case FaultKind::kMissing:
      return Code::kParameterMissing;
    case FaultKind::kWrongShape:
      return Code::kWrongShape;
    case FaultKind::kWrongDtype:
      return parameter.slot == Slot::kGateTid2Eid ? Code::kHashTableNotInteger : Code::kWrongDtype;
    case FaultKind::kMissingCompanion:
      return Code::kCompanionMissing;
    case FaultKind::kWrongCompanion:
      return Code::kCompanionWrong;
    case FaultKind::kStrayCompanion:
      return Code::kStrayCompanion;
    case FaultKind::kBoundTwice:
      return Code::kBoundTwice;
    case FaultKind::kTruncated:
      return Code::kShardTruncated;
  }
  return Code::kParameterMissing;
}

bool is_of_another_layer_type(const TensorName& name) {
  const bool compressed = name.slot >= Slot::kCompressorApe && name.slot <= Slot::kIndexerCompressorNorm;
  return name.block.kind == BlockKind::kMtp && compressed;
}

namespace {

struct Gathered {
  std::vector<std::string> names;
  std::string first;
  std::size_t faults = 0;
  std::size_t transposed = 0;
};

constexpr std::string_view kTranspose =
    "Swap the last two dimensions and save again (in PyTorch: tensor.transpose(-1, -2).contiguous()). Or: "
    "`outrider repair --reference SOURCE`.";

void add_all(CheckContext& context, const std::map<Code, Gathered>& gathered) {
  for (const auto& [code, g] : gathered) {
    const std::size_t more = g.faults - 1;
    context.add(code, g.first + (more == 0 ? "" : fmt::format("; and {} more", grouped(more))), g.names,
                g.transposed == g.faults ? std::string(kTranspose) : "");
  }
}

std::optional<std::string> weight_name(const BindingReport& binding, ParameterId p) {
  for (const Component c : {Component::kWeight, Component::kWeightPacked}) {
    if (const auto t = binding.bindings[p].tensor(c)) return binding.stored_name(*t);
  }
  return std::nullopt;
}

void check_faults(CheckContext& context) {
  const BindingReport& binding = context.binding();
  if (binding.faults.empty()) return;
  const Manifest& manifest = *binding.manifest;
  const Spelling spelling(binding);
  // Experts with one part missing and another present (rows of a fused parameter).
  std::set<ParameterId> missing_experts;
  for (const BindingFault& fault : binding.faults) {
    if (fault.kind == FaultKind::kMissing && manifest[fault.parameter].expert >= 0 && !context.unread->explain(fault))
      missing_experts.insert(fault.parameter);
  }
  const auto partial = [&](ParameterId p) {
    const Parameter& parameter = manifest[p];
    for (const Slot slot : {Slot::kExpertW1, Slot::kExpertW2, Slot::kExpertW3}) {
      const auto sibling = manifest.find(parameter.block, slot, parameter.expert);
      if (sibling && !missing_experts.contains(*sibling)) return true;
    }
    return false;
  };

  std::map<Code, Gathered> gathered;
  std::set<std::string> seen;
  const auto gather = [&](const BindingFault& fault, Code code) {
    std::string name = spelling.name_of(fault);
    // A missing stack of experts is reported once, not once per slice.
    if (fault.kind == FaultKind::kMissing && !seen.insert(name).second) return;
    Gathered& g = gathered[code];
    if (g.faults++ == 0) {
      g.first = fault.detail.starts_with(name) ? fault.detail : fmt::format("{}: {}", name, fault.detail);
    }
    g.transposed += fault.transposed;
    // A companion contradicts its weight: either may be wrong.
    const std::optional<std::string> weight = weight_name(binding, fault.parameter);
    const bool companion = fault.kind == FaultKind::kMissingCompanion || fault.kind == FaultKind::kWrongCompanion ||
                           fault.kind == FaultKind::kStrayCompanion;
    if (companion && weight && *weight != name) g.names.push_back(*weight);
    g.names.push_back(std::move(name));
  };
  for (const BindingFault& fault : binding.faults) {
    const Parameter& parameter = manifest[fault.parameter];
    Code code = code_of(fault, parameter);
    const bool told_with_the_file = code == Code::kShardTruncated || context.unread->explain(fault) ||
                                    (code == Code::kBoundTwice && context.report.has(Code::kDuplicateTensor) &&
                                     fault.detail.starts_with("stored twice, in "));
    if (told_with_the_file) continue;
    if (fault.kind == FaultKind::kMissing && parameter.expert >= 0 && partial(fault.parameter)) {
      code = Code::kFusedPartMissing;
    }
    gather(fault, code);
  }
  add_all(context, gathered);
}

void check_unused(CheckContext& context) {
  const BindingReport& binding = context.binding();
  std::map<TensorUse, std::vector<std::string>> by_use;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.uses[t] == TensorUse::kUsed || context.unread->explain(t)) continue;
    by_use[binding.uses[t]].push_back(binding.stored_name(t));
  }
  // Compressor and indexer tensors in an MTP block have a finding of their own.
  std::vector<std::string> wrong_type;
  std::erase_if(by_use[TensorUse::kUnusedOutside], [&](const std::string& name) {
    const TensorName parsed = parse_tensor_name(name, binding.manifest->config().num_hidden_layers, false);
    if (!is_of_another_layer_type(parsed)) return false;
    wrong_type.push_back(name);
    return true;
  });
  const auto add = [&](TensorUse use, Code code, std::string_view what, std::string remedy = {}) {
    const std::vector<std::string>& names = by_use[use];
    if (names.empty()) return;
    context.add(code, fmt::format("{} {}, for instance {}", count_text(names.size(), "tensor"), what, names[0]), names,
                std::move(remedy));
  };
  // A missing parameter may be stored under such a name.
  const bool may_be_needed = context.report.has(Code::kParameterMissing) ||
                             context.report.has(Code::kFusedPartMissing) || context.report.has(Code::kMtpDropped);
  add(TensorUse::kUnusedUnknown, Code::kUnknownTensor, "with unknown names",
      may_be_needed ? "Correct the names: missing parameters may be stored under them." : "");
  add(TensorUse::kUnusedOrphan, Code::kUnknownTensor, "of a weight that is missing");
  add(TensorUse::kUnusedOutside, Code::kOutsideModel, "of a layer, expert or parameter that is not in the config");
  add(TensorUse::kUnusedExploded, Code::kExplodedTensor, "that are single rows of a tensor");
  add(TensorUse::kUnusedVision, Code::kVisionTensors, "of a vision tower, not used");
  if (!wrong_type.empty()) {
    context.add(Code::kMtpWrongLayerType,
                fmt::format("{} in an MTP block, which is a sliding-window layer, for instance {}",
                            count_text(wrong_type.size(), "compressor or indexer tensor"), wrong_type[0]),
                wrong_type);
  }
  const std::vector<std::string>& extra = by_use[TensorUse::kUnusedNoDrafter];
  if (!extra.empty() && context.drafter.kind == DrafterKind::kDspark && !context.reading().config.dspark) {
    context.add(
        Code::kConfigFieldMissing,
        fmt::format("dspark_block_size, dspark_markov_rank, dspark_noise_token_id and dspark_target_layer_ids are "
                    "missing, but {} are of a DSpark drafter, for instance {}",
                    count_text(extra.size(), "tensor"), extra[0]),
        extra);
  } else if (!extra.empty()) {
    context.add(
        Code::kConfigContradiction,
        fmt::format("num_nextn_predict_layers is {} but {} are in drafting blocks beyond that, for instance {}",
                    context.reading().config.num_nextn_predict_layers, count_text(extra.size(), "tensor"), extra[0]),
        extra);
  }
  for (auto& [use, names] : by_use) {
    if (!names.empty() || (use == TensorUse::kUnusedOutside && !wrong_type.empty())) {
      std::vector<std::string> all = names;
      if (use == TensorUse::kUnusedOutside) all.insert(all.end(), wrong_type.begin(), wrong_type.end());
      context.report.unused.emplace_back(use, tensor_patterns(all));
    }
  }
}

}  // namespace

void check_binding(CheckContext& context) {
  check_faults(context);
  check_unused(context);
}

}  // namespace outrider
