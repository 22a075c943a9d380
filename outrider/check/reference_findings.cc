#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "outrider/check/context.h"
#include "outrider/check/parameter_values.h"
#include "outrider/check/reference_values.h"
#include "outrider/check/tensor_data.h"
#include "outrider/check/value_difference.h"

namespace outrider {
namespace {

int precision(Dtype d) {
  switch (d) {
    case Dtype::kF32:
      return 3;
    case Dtype::kBF16:
    case Dtype::kF16:
      return 2;
    default:
      return 1;
  }
}

void compare_configs(CheckContext& context, const ModelConfig& ours, const ModelConfig& theirs) {
  std::string differences;
  const auto compare = [&](const char* field, auto a, auto b) {
    if (a == b) return;
    differences += fmt::format("{}{} is {}, but {} in the reference", differences.empty() ? "" : "; ", field, a, b);
  };
  compare("vocab_size", ours.vocab_size, theirs.vocab_size);
  compare("hidden_size", ours.hidden_size, theirs.hidden_size);
  compare("num_hidden_layers", ours.num_hidden_layers, theirs.num_hidden_layers);
  compare("num_attention_heads", ours.num_attention_heads, theirs.num_attention_heads);
  compare("head_dim", ours.head_dim, theirs.head_dim);
  compare("qk_rope_head_dim", ours.qk_rope_head_dim, theirs.qk_rope_head_dim);
  compare("q_lora_rank", ours.q_lora_rank, theirs.q_lora_rank);
  compare("o_groups", ours.o_groups, theirs.o_groups);
  compare("o_lora_rank", ours.o_lora_rank, theirs.o_lora_rank);
  compare("sliding_window", ours.sliding_window, theirs.sliding_window);
  compare("n_routed_experts", ours.n_routed_experts, theirs.n_routed_experts);
  compare("n_shared_experts", ours.n_shared_experts, theirs.n_shared_experts);
  compare("num_experts_per_tok", ours.num_experts_per_tok, theirs.num_experts_per_tok);
  compare("moe_intermediate_size", ours.moe_intermediate_size, theirs.moe_intermediate_size);
  compare("num_hash_layers", ours.num_hash_layers().value_or(0), theirs.num_hash_layers().value_or(0));
  compare("hc_mult", ours.hc_mult, theirs.hc_mult);
  compare("hc_sinkhorn_iters", ours.hc_sinkhorn_iters, theirs.hc_sinkhorn_iters);
  compare("index_n_heads", ours.index_n_heads, theirs.index_n_heads);
  compare("index_head_dim", ours.index_head_dim, theirs.index_head_dim);
  compare("index_topk", ours.index_topk, theirs.index_topk);
  compare("num_nextn_predict_layers", ours.num_nextn_predict_layers, theirs.num_nextn_predict_layers);
  compare("hc_eps", ours.hc_eps, theirs.hc_eps);
  compare("rms_norm_eps", ours.rms_norm_eps, theirs.rms_norm_eps);
  compare("rope_theta", ours.rope_theta, theirs.rope_theta);
  compare("compress_rope_theta", ours.compress_rope_theta, theirs.compress_rope_theta);
  compare("routed_scaling_factor", ours.routed_scaling_factor, theirs.routed_scaling_factor);
  compare("swiglu_limit", ours.swiglu_limit, theirs.swiglu_limit);
  compare("norm_topk_prob", ours.norm_topk_prob, theirs.norm_topk_prob);
  compare("scoring_func", ours.scoring_func, theirs.scoring_func);
  compare("rope_scaling.factor", ours.yarn ? ours.yarn->factor : 1, theirs.yarn ? theirs.yarn->factor : 1);
  for (std::size_t i = 0; i < std::min(ours.layers.size(), theirs.layers.size()); ++i) {
    if (ours.layers[i].compress_ratio == theirs.layers[i].compress_ratio) continue;
    compare(fmt::format("compress_ratios[{}]", i).c_str(), ours.layers[i].compress_ratio,
            theirs.layers[i].compress_ratio);
    break;
  }
  if (!differences.empty()) context.add(Code::kReferenceConfig, differences);
}

// Whether a drafting block of the reference has its own head or embedding that is not a copy of the model's.
bool is_trained_apart(const BindingReport& binding, ParameterId p) {
  const Parameter& parameter = (*binding.manifest)[p];
  if (!parameter.falls_back_to) return false;
  const TensorData data(*binding.checkpoint);
  const auto own = ParameterValues::of(binding, data, p);
  const auto model = ParameterValues::of(binding, data, *parameter.falls_back_to);
  return own && model && compare_values(*own, *model).different != 0;
}

}  // namespace

void check_reference(CheckContext& context) {
  if (context.report.binding == nullptr) return;
  const auto reference =
      std::make_shared<const Checkpoint>(Checkpoint::open(*context.options.reference, *context.options.pool));
  const auto opened = check_checkpoint(reference);
  if (!opened.config || opened.binding == nullptr) {
    throw Error(
        fmt::format("{}: its config.json does not describe a DeepSeek-V4 model, so it cannot be compared. "
                    "Give the directory of the source checkpoint.",
                    context.options.reference->string()));
  }
  compare_configs(context, context.reading().config, opened.config->config);

  const BindingReport& ours = context.binding();
  const BindingReport& theirs = *opened.binding;
  std::vector<std::string> narrower;
  std::vector<std::string> wider;
  std::vector<std::string> lost;
  std::string narrower_first;
  std::vector<std::pair<ParameterId, ParameterId>> to_compare;
  const bool values = !ours.names_only && !theirs.names_only;
  for (ParameterId q = 0; q < theirs.bindings.size(); ++q) {
    const Parameter& parameter = (*theirs.manifest)[q];
    const Binding& b = theirs.bindings[q];
    if (!b.bound || b.shared) continue;
    const bool resized = parameter.spec().group == ModuleGroup::kRouter ||
                         parameter.spec().group == ModuleGroup::kRouterBias ||
                         parameter.spec().group == ModuleGroup::kHashTable || parameter.expert >= 0;
    const bool pruned = ours.manifest->has_block(parameter.block) &&
                        ours.manifest->experts(parameter.block) != theirs.manifest->experts(parameter.block);
    if (resized && pruned) continue;
    const auto p = ours.manifest->find(parameter.block, parameter.slot, parameter.expert);
    const Binding* a = p ? &ours.bindings[*p] : nullptr;
    const bool held =
        a != nullptr && (a->bound || std::any_of(a->tensors.begin(), a->tensors.end(), [](auto t) { return t >= 0; }));
    if (!held) {
      const bool told_with_the_file = p && context.unread->hold(*p);
      if (!parameter.falls_back_to && !told_with_the_file) lost.push_back(parameter.name());
      continue;
    }
    if (!a->bound || !values) continue;
    if (a->shared) {
      if (is_trained_apart(theirs, q)) lost.push_back(parameter.name());
      continue;
    }
    to_compare.emplace_back(*p, q);
    if (a->form != b.form) continue;  // quantised on purpose, or vice versa
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if (a->tensors[c] < 0 || b.tensors[c] < 0) continue;
      const auto id = static_cast<TensorId>(a->tensors[c]);
      const TensorInfo& mine = ours.tensor(id);
      const TensorInfo& source = theirs.tensor(static_cast<TensorId>(b.tensors[c]));
      if (mine.dtype == source.dtype) continue;
      // Once per stack of experts, or per each of the experts that the reference has instead.
      if (a->part != ExpertPart::kNone && (parameter.expert != 0 || parameter.slot == Slot::kExpertW3)) continue;
      auto& list = precision(mine.dtype) < precision(source.dtype) ? narrower : wider;
      if (narrower_first.empty() && &list == &narrower) {
        narrower_first = fmt::format("{} is {}, but {} in the reference", ours.stored_name(id), dtype_name(mine.dtype),
                                     dtype_name(source.dtype));
      }
      list.push_back(ours.stored_name(id));
    }
  }
  const auto more = [](std::size_t count) {
    return count < 2 ? std::string() : fmt::format("; and {} more", grouped(count - 1));
  };
  if (!narrower.empty()) context.add(Code::kReferenceDtype, narrower_first + more(narrower.size()), narrower);
  if (!wider.empty()) {
    context.add(Code::kReferenceDtype,
                fmt::format("{} is stored in a wider dtype than in the reference{}", wider[0], more(wider.size())),
                wider, "Nothing to do if it is on purpose; repaired artifacts usually have a head in F32.");
  }
  if (!lost.empty()) {
    context.add(Code::kReferenceLost,
                fmt::format("{} of the reference is missing from this checkpoint{}", lost[0], more(lost.size())), lost);
  }
  if (values) compare_values_with(context, theirs, to_compare);
}

}  // namespace outrider
