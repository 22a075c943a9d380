#include <fmt/format.h>

#include <algorithm>

#include "outrider/check/context.h"

namespace outrider {
namespace {

// 0 unquantised, 1 FP8, 2 four bits.
int coarseness(StorageForm form) {
  const StorageFormSpec& spec = storage_form(form);
  if (!spec.quantised()) return 0;
  return spec.code_bits == 8 ? 1 : 2;
}

// A missing drafter may be in a file that could not be read.
bool every_file_was_read(const Checkpoint& checkpoint) {
  if (checkpoint.names_only()) return true;
  return std::all_of(checkpoint.files().begin(), checkpoint.files().end(), [](const ShardFile& file) {
    return file.present &&
           (!file.fault || *file.fault == HeaderFault::kTruncated || *file.fault == HeaderFault::kTrailing);
  });
}

void count_own_heads(CheckContext& context) {
  const BindingReport& binding = context.binding();
  DrafterSummary& summary = context.report.drafter;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Parameter& parameter = (*binding.manifest)[p];
    const Binding& b = binding.bindings[p];
    if (!parameter.falls_back_to || !b.bound || b.shared) continue;
    ++(parameter.slot == Slot::kHead ? summary.own_heads : summary.own_embeddings);
  }
}

void check_mtp(CheckContext& context) {
  const BindingReport& binding = context.binding();
  const Manifest& manifest = *binding.manifest;
  std::vector<std::string> absent;
  std::vector<std::string> quantised;
  // The coarsest form of each module group in the model, to compare the block with.
  std::array<int, kModuleGroupCount> model{};
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    if (!binding.bindings[p].bound || is_drafter(manifest[p].block)) continue;
    int& level = model[static_cast<std::size_t>(manifest[p].spec().group)];
    level = std::max(level, coarseness(binding.bindings[p].form));
  }
  std::vector<std::string> coarser;
  // A completely quantised block is as released, beside a model that was widened.
  bool any_plain = false;
  const auto [first, end] = manifest.parameters_of(manifest.blocks() - manifest.drafter_blocks(), manifest.blocks());
  for (ParameterId p = first; p < end; ++p) {
    const Parameter& parameter = manifest[p];
    const Binding& b = binding.bindings[p];
    if (parameter.falls_back_to && b.shared && !context.unread->hold(p)) absent.push_back(parameter.name());
    if (!b.bound || b.shared) continue;
    const auto t = b.tensor(b.codes());
    const std::string name = binding.stored_name(*t);
    any_plain = any_plain || (b.form == StorageForm::kPlain && parameter.spec().storage == Storage::kLinear);
    if (!storage_form(b.form).released) {
      quantised.push_back(name);
    } else if (parameter.slot != Slot::kWoA &&
               coarseness(b.form) > model[static_cast<std::size_t>(parameter.spec().group)]) {
      coarser.push_back(name);
    }
  }
  if (!absent.empty()) {
    context.add(Code::kMtpSharesHead,
                fmt::format("{} {} not stored; the MTP block uses the top-level head.weight and embed.weight",
                            absent.size() == 1 ? absent[0] : fmt::format("{} and {}", absent[0], absent[1]),
                            absent.size() == 1 ? "is" : "are"),
                absent);
  }
  if (!quantised.empty()) {
    context.add(Code::kMtpQuantised,
                fmt::format("{} of the MTP block are stored in four bits by a quantiser, for instance {}",
                            count_text(quantised.size(), "weight"), quantised[0]),
                quantised);
  }
  if (!coarser.empty() && (any_plain || !quantised.empty())) {
    context.add(
        Code::kMtpNotAsReleased,
        fmt::format("{} of the MTP block are stored more coarsely than the same modules of the model, for instance {}",
                    count_text(coarser.size(), "weight"), coarser[0]),
        coarser);
  }
  if (manifest.drafter_blocks() == 1) {
    context.add(Code::kMtpChained, "num_nextn_predict_layers is 1");
  }
}

// Detects a drafter that was not pruned with the model, or pruned alone.
void check_drafter_experts(CheckContext& context) {
  const ModelConfig& config = context.reading().config;
  const Manifest& manifest = *context.binding().manifest;
  for (std::uint32_t i = 0; i < manifest.drafter_blocks(); ++i) {
    const Block block{manifest.drafter() == DrafterKind::kDspark ? BlockKind::kDspark : BlockKind::kMtp, i};
    const std::uint64_t experts = manifest.experts(block);
    if (experts == config.n_routed_experts) continue;
    const bool dspark = block.kind == BlockKind::kDspark;
    if (dspark && i != 0 && experts == manifest.experts({block.kind, 0})) continue;  // reported for the first stage
    const bool too_few = experts < config.num_experts_per_tok;
    context.add(
        too_few ? Code::kConfigContradiction : Code::kDrafterExperts,
        fmt::format("{} has {} experts and a router for as many, but the model has {} (n_routed_experts){}",
                    block_name(block), experts, config.n_routed_experts,
                    too_few ? fmt::format(", and num_experts_per_tok is {}", config.num_experts_per_tok) : ""),
        {},
        dspark
            ? "Nothing to do for Outrider. For an engine that builds every stage with config.json's number, prune the "
              "drafter like the model."
        : too_few ? std::string(finding_kind(Code::kDrafterExperts).remedy)
                  : "");
  }
}

}  // namespace

void check_drafter(CheckContext& context) {
  const ModelConfig& config = context.reading().config;
  DrafterSummary& summary = context.report.drafter;
  summary.kind = context.drafter.kind;
  summary.announced = config.num_nextn_predict_layers;
  summary.blocks = context.drafter.blocks;
  summary.tensors = context.drafter.tensors;
  if (context.drafter.both) {
    context.add(
        Code::kConfigContradiction,
        "mtp.* has tensors both of a DSpark drafter (main_proj, markov_head) and of an MTP block (enorm, e_proj); an "
        "artifact has one or the other");
  }
  if (context.drafter.kind == DrafterKind::kDspark) {
    context.add(
        Code::kDsparkDrafter,
        fmt::format("{} in {} (main_proj, markov_head, confidence_head): a DSpark drafter. "
                    "num_nextn_predict_layers {} does not count its stages",
                    count_text(summary.tensors, "tensor"), count_text(summary.blocks, "stage"), summary.announced));
  } else if (context.drafter.kind == DrafterKind::kNone && (summary.announced != 0 || config.dspark) &&
             every_file_was_read(context.checkpoint())) {
    context.add(
        Code::kMtpDropped,
        config.dspark
            ? fmt::format("config.json announces a DSpark drafter (dspark_* fields, num_nextn_predict_layers {}), but "
                          "no tensor is called mtp.*: the drafter was dropped. The model runs without speculation",
                          summary.announced)
            : fmt::format("num_nextn_predict_layers is {} but no tensor is called mtp.*. The model runs without "
                          "speculation",
                          summary.announced));
  }
  if (context.report.binding == nullptr || context.report.foreign) return;
  check_drafter_experts(context);
  count_own_heads(context);
  if (context.binding().manifest->drafter() == DrafterKind::kMtp) check_mtp(context);
}

}  // namespace outrider
