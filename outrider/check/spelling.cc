#include "outrider/check/spelling.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/check/context.h"

namespace outrider {
namespace {

// The head has no "model." prefix in any dialect.
bool has_prefix_vote(const TensorName& name) {
  return name.block.kind != BlockKind::kTop || name.slot != Slot::kHead;
}

// Whether transformers writes its own name of a parameter even among official ones.
bool is_hugging_face_at_the_top(Block block, Slot slot) {
  return block.kind == BlockKind::kTop &&
         (slot == Slot::kEmbed || slot == Slot::kHcHeadFn || slot == Slot::kHcHeadBase || slot == Slot::kHcHeadScale);
}

}  // namespace

bool NameVotes::is_odd(const TensorName& name) const {
  const bool minority = (name.dialect.official && official <= hugging_face && hugging_face != 0) ||
                        (name.dialect.hugging_face && hugging_face < official);
  const bool prefix =
      has_prefix_vote(name) && (name.dialect.model_prefix ? prefixed < bare : bare <= prefixed && prefixed != 0);
  const bool placed = name.block.kind == BlockKind::kMtp && name.dialect.v3_mtp != mostly_v3();
  if (name.dialect.mixed() || name.dialect.variant || prefix || placed) return true;
  return minority && !(saved_by_transformers() && is_hugging_face_at_the_top(name.block, name.slot));
}

NamingVotes count_names(const BindingReport& binding) {
  NamingVotes votes;
  for (const TensorName& name : binding.names) {
    if (name.kind != TensorName::Kind::kParameter) continue;
    NameVotes& v = votes[is_drafter(name.block)];
    v.official += name.dialect.official && !name.dialect.hugging_face;
    v.hugging_face += name.dialect.hugging_face && !name.dialect.official;
    v.mixed += name.dialect.mixed();
    v.variants += name.dialect.variant;
    v.v3 += name.dialect.v3_mtp;
    if (has_prefix_vote(name)) ++(name.dialect.model_prefix ? v.prefixed : v.bare);
  }
  return votes;
}

Spelling::Spelling(const BindingReport& binding) : binding_(binding), votes_(count_names(binding)) {
  for (const TensorName& name : binding.names) {
    if (name.kind != TensorName::Kind::kParameter) continue;
    GroupVotes& votes = groups_[is_drafter(name.block)];
    const auto group = static_cast<std::size_t>(binding.manifest->spec(name.slot).group);
    if (name.component == Component::kWeightPacked) ++votes.packed[group];
    if (name.component == Component::kWeight) ++votes.plain[group];
    for (std::size_t i = 0; i < kScaleSpellings.size(); ++i) {
      votes.scales[group][i] += name.component == kScaleSpellings[i];
    }
    if (name.part != ExpertPart::kNone) votes.stacked = true;
  }
}

const NameVotes& Spelling::dialect_of(Block block) const {
  const NameVotes& own = votes_[is_drafter(block)];
  return own.official + own.hugging_face != 0 ? own : votes_[false];
}

Component Spelling::usual_scale(ParameterId id) const {
  const Parameter& p = (*binding_.manifest)[id];
  const auto& scales = groups_[is_drafter(p.block)].scales[static_cast<std::size_t>(p.spec().group)];
  return kScaleSpellings[static_cast<std::size_t>(std::max_element(scales.begin(), scales.end()) - scales.begin())];
}

bool Spelling::is_stacked(ParameterId id) const {
  const Parameter& p = (*binding_.manifest)[id];
  return p.expert >= 0 && groups_[is_drafter(p.block)].stacked;
}

std::string Spelling::name_of(const BindingFault& fault) const {
  if (!fault.tensor) return expected_name(fault.parameter);
  const std::string name = binding_.stored_name(*fault.tensor);
  if (fault.kind != BindingFault::Kind::kMissingCompanion) return name;
  const Component companion = fault.companion.value_or(usual_scale(fault.parameter));
  return fmt::format("{}.{}", name.substr(0, name.rfind('.')), component_suffix(companion));
}

std::string Spelling::expected_name(ParameterId id) const {
  const Parameter& p = (*binding_.manifest)[id];
  const GroupVotes& groups = groups_[is_drafter(p.block)];
  const auto group = static_cast<std::size_t>(p.spec().group);
  if (is_stacked(id)) {
    const NameVotes& votes = dialect_of(p.block);
    return fmt::format("{}{}.mlp.experts.{}", votes.prefixed > votes.bare ? "model." : "", block_name(p.block),
                       p.slot == Slot::kExpertW2 ? "down_proj" : "gate_up_proj");
  }
  return name(p, groups.packed[group] > groups.plain[group] ? Component::kWeightPacked : Component::kWeight);
}

std::string Spelling::name(const Parameter& p, Component component) const {
  const NameVotes& votes = dialect_of(p.block);
  const bool prefix = votes.prefixed > votes.bare;
  const bool v3 = p.block.kind == BlockKind::kMtp && votes.mostly_v3();
  const bool hugging_face = votes.hugging_face > votes.official ||
                            (votes.saved_by_transformers() && is_hugging_face_at_the_top(p.block, p.slot));
  const std::string name = tensor_name(p, component, hugging_face, prefix);
  if (!v3) return name;
  // As in DeepSeek-V3: a further layer whose head and norm are under shared_head, unless its names are official.
  std::string_view rest = std::string_view(name).substr(name.find("mtp."));
  rest.remove_prefix(rest.find('.', 4) + 1);
  const bool shared = hugging_face && (p.slot == Slot::kHead || p.slot == Slot::kFinalNorm);
  if (p.slot == Slot::kHead) rest = "head.weight";
  return fmt::format("{}layers.{}.{}{}", prefix ? "model." : "",
                     binding_.manifest->config().num_hidden_layers + p.block.index, shared ? "shared_head." : "", rest);
}

}  // namespace outrider
