#include "outrider/artifact/repair/repair_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <system_error>
#include <utility>

#include "outrider/artifact/repair/repair_context.h"
#include "outrider/check/report.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

enum class Remedy {
  kNone,
  kAsked,    // with --only
  kUnasked,  // always
};

struct Repair {
  Code code;
  Remedy remedy;
  bool needs_reference;  // missing values are only in the reference
};
// Findings that are not listed have no repair.
constexpr Repair kRepairs[] = {
    {Code::kShardUnreadable, Remedy::kUnasked, true},
    {Code::kShardTruncated, Remedy::kUnasked, true},
    {Code::kNotAShard, Remedy::kUnasked, true},
    {Code::kShardMissing, Remedy::kUnasked, true},
    {Code::kIndexNamesAbsentTensor, Remedy::kUnasked, false},
    {Code::kTensorInOtherShard, Remedy::kUnasked, false},
    {Code::kTensorNotInIndex, Remedy::kUnasked, false},
    {Code::kDuplicateTensor, Remedy::kUnasked, false},
    {Code::kStrayFile, Remedy::kUnasked, false},
    {Code::kIndexTotalSize, Remedy::kUnasked, false},
    {Code::kIndexMissing, Remedy::kUnasked, false},
    {Code::kConfigFieldMissing, Remedy::kUnasked, true},
    {Code::kConfigContradiction, Remedy::kUnasked, true},
    {Code::kQuantizationConfigMismatch, Remedy::kUnasked, false},
    {Code::kScaleFormatUndeclared, Remedy::kUnasked, false},
    {Code::kTokenizerMismatch, Remedy::kUnasked, true},
    {Code::kTokenizerMissing, Remedy::kUnasked, true},
    {Code::kParameterMissing, Remedy::kUnasked, true},
    {Code::kFusedPartMissing, Remedy::kUnasked, true},
    {Code::kWrongShape, Remedy::kUnasked, true},
    {Code::kWrongDtype, Remedy::kUnasked, true},
    {Code::kCompanionMissing, Remedy::kUnasked, true},
    {Code::kCompanionWrong, Remedy::kUnasked, true},
    {Code::kStrayCompanion, Remedy::kUnasked, false},
    {Code::kBoundTwice, Remedy::kUnasked, false},
    {Code::kTransformersRename, Remedy::kUnasked, false},
    {Code::kExplodedTensor, Remedy::kUnasked, false},
    {Code::kMtpSharesHead, Remedy::kUnasked, false},
    {Code::kMtpDropped, Remedy::kUnasked, true},
    {Code::kMtpQuantised, Remedy::kUnasked, true},
    {Code::kMtpWrongLayerType, Remedy::kUnasked, false},
    {Code::kMixedNaming, Remedy::kUnasked, false},
    {Code::kMtpNotAsReleased, Remedy::kUnasked, true},
    {Code::kFp32Downcast, Remedy::kUnasked, false},
    {Code::kHashTableNotInteger, Remedy::kUnasked, true},
    {Code::kInconsistentStorage, Remedy::kUnasked, false},
    {Code::kReferenceDtype, Remedy::kUnasked, false},
    // Repairs that rewrite whole files for little, change what others may rely on, or discard what may be wanted.
    {Code::kUnalignedData, Remedy::kAsked, false},
    {Code::kScaleSpelling, Remedy::kAsked, false},
    {Code::kUnknownTensor, Remedy::kAsked, false},
    {Code::kOutsideModel, Remedy::kAsked, false},
    {Code::kReferenceConfig, Remedy::kAsked, true},
    {Code::kTransformersConfig, Remedy::kAsked, false},
};

Repair repair_of(Code code) {
  const Repair* found = std::ranges::find(kRepairs, code, &Repair::code);
  return found == std::end(kRepairs) ? Repair{code, Remedy::kNone, false} : *found;
}

std::shared_ptr<const CheckReport> check_of(const fs::path& directory, const RepairOptions& options,
                                            const std::optional<std::string>& config) {
  Checkpoint checkpoint = Checkpoint::open(directory, *options.pool);
  if (config) checkpoint.set_config_json(*config);
  CheckOptions with;
  with.pool = options.pool;
  if (options.reference) with.reference = options.reference;
  return std::make_shared<const CheckReport>(
      check_checkpoint(std::make_shared<const Checkpoint>(std::move(checkpoint)), with));
}

std::shared_ptr<const CheckReport> check_draft(const Draft& draft, const std::string& config) {
  auto checkpoint = std::make_shared<const Checkpoint>(draft.as_checkpoint(config));
  return std::make_shared<const CheckReport>(check_checkpoint(std::move(checkpoint)));
}

void take_tokenizer(const CheckReport& report, const RepairOptions& options, RepairPlan& plan) {
  for (const Code code : {Code::kTokenizerMismatch, Code::kTokenizerMissing}) {
    const bool asked = options.only.empty() || options.only.contains(code);
    if (!report.has(code) || !asked || !options.reference) continue;
    std::vector<std::string> names;
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::error_code error;
      const fs::path from = *options.reference / name;
      if (!fs::is_regular_file(from, error)) continue;
      plan.artifact.kept.push_back({name, from, {}, 0, fs::file_size(from, error)});
      plan.artifact.without.emplace_back(name);
      names.emplace_back(name);
    }
    if (!names.empty()) plan.actions.push_back({code, "take tokenizer.json from the reference", {}, 0});
  }
}

std::string why_it_stays(const Finding& finding, const RepairOptions& options, const RepairPlan& plan) {
  const Code code = finding.id;
  if (const auto withheld = plan.withheld.find(code); withheld != plan.withheld.end()) return withheld->second;
  if (!options.only.empty() && !options.only.contains(code)) return "not selected with --only";
  if (repair_of(code).remedy == Remedy::kAsked) {
    return fmt::format("repaired only with --only {}", finding.kind().code);
  }
  if (repair_of(code).needs_reference && !options.reference) return "needs --reference, the source checkpoint";
  return std::string(finding.remedy_text());
}

// Keeps only a report's findings: the memory is needed to check the result.
std::shared_ptr<const CheckReport> without_tensors(CheckReport report) {
  report.checkpoint.reset();
  report.binding.reset();
  report.plan.reset();
  return std::make_shared<const CheckReport>(std::move(report));
}

// Findings that a list of tensors cannot show: of files, the tokenizer, values, and comparisons with a reference.
bool is_seen_in_files_only(Code code) {
  return finding_kind(code).code < finding_kind(Code::kConfigFieldMissing).code || code == Code::kTokenizerMismatch ||
         code == Code::kTokenizerMissing || code == Code::kSampledByDefault || code == Code::kStaleQuantizationFile ||
         finding_kind(code).code >= finding_kind(Code::kNotANumber).code;
}

// Whether a finding of the comparison with the reference still holds for the result.
bool holds_beside(const CheckReport& reference, Code code, const CheckReport& after) {
  if (after.binding == nullptr || (code != Code::kReferenceLost && code != Code::kReferenceDtype)) return true;
  const BindingReport& ours = *after.binding;
  const BindingReport& theirs = *reference.binding;
  for (ParameterId q = 0; q < theirs.bindings.size(); ++q) {
    const Parameter& parameter = (*theirs.manifest)[q];
    const Binding& source = theirs.bindings[q];
    if (!source.bound || source.shared) continue;
    const auto p = ours.manifest->find(parameter.block, parameter.slot, parameter.expert);
    const bool pruned = parameter.expert >= 0 && ours.manifest->has_block(parameter.block) &&
                        ours.manifest->experts(parameter.block) != theirs.manifest->experts(parameter.block);
    if (pruned) continue;
    const bool bound = p && ours.bindings[*p].bound;
    if (code == Code::kReferenceLost) {
      if (!bound) return true;
      continue;
    }
    if (!bound || ours.bindings[*p].form != StorageForm::kPlain || source.form != StorageForm::kPlain) continue;
    const Dtype now = ours.tensor(*ours.bindings[*p].tensor(Component::kWeight)).dtype;
    const Dtype released = theirs.tensor(*source.tensor(Component::kWeight)).dtype;
    if (released == Dtype::kF32 && now != Dtype::kF32) return true;
  }
  return false;
}

// `report`: of the current tensors with the new config.json.
void list_remaining(const CheckReport& report, const CheckReport* reference, const RepairOptions& options,
                    RepairPlan& plan) {
  const auto acted = [&](Code code) {
    return std::any_of(plan.actions.begin(), plan.actions.end(), [&](const RepairAction& a) { return a.code == code; });
  };
  const auto stays = [&](const Finding& finding) {
    if (finding.kind().severity < Severity::kWarning) return;
    plan.remaining.push_back({finding.id, why_it_stays(finding, options, plan)});
  };
  for (const Finding& finding : report.findings) {
    if (!is_seen_in_files_only(finding.id) || acted(finding.id)) continue;
    if (reference == nullptr || holds_beside(*reference, finding.id, *plan.after)) stays(finding);
  }
  // What follows from missing files is reported for the files; the list of tensors does not know them.
  const bool files_lack =
      report.has(Code::kShardMissing) || report.has(Code::kShardUnreadable) || report.has(Code::kNotAShard);
  for (const Finding& finding : plan.after->findings) {
    const bool follows = files_lack && !report.has(finding.id);
    if (!is_seen_in_files_only(finding.id) && !follows) stays(finding);
  }
}

}  // namespace

bool RepairPlan::leaves_errors() const {
  return std::ranges::any_of(
      remaining, [](const RemainingFinding& left) { return finding_kind(left.code).severity == Severity::kError; });
}

bool is_repairable(Code code) {
  return repair_of(code).remedy != Remedy::kNone;
}
bool is_repaired_unasked(Code code) {
  return repair_of(code).remedy == Remedy::kUnasked;
}

std::set<Code> repairable_codes(std::span<const std::string> names) {
  std::set<Code> out;
  for (const std::string& name : names) {
    const auto kinds = finding_kinds();
    const auto it = std::ranges::find_if(kinds, [&](const FindingKind& k) { return k.code == name || k.slug == name; });
    if (it == kinds.end()) {
      throw Error(
          fmt::format("--only {}: there is no such finding. docs/findings/README.md lists them all.", printable(name)));
    }
    if (!is_repairable(it->id)) {
      throw Error(fmt::format("--only {}: repair cannot fix {}. Remedy: {}", printable(name), it->slug, it->remedy));
    }
    out.insert(it->id);
  }
  return out;
}

RepairPlan plan_repair(const fs::path& directory, const RepairOptions& options) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    throw Error(fmt::format("{}: is not a directory. Give the directory of a checkpoint.",
                            printable(directory.string(), 4096)));
  }
  RepairPlan plan;
  plan.partial = options.partial;
  plan.sources.add_directory(directory);
  if (options.reference) plan.sources.add_directory(*options.reference);
  plan.before = check_of(directory, options, std::nullopt);
  if (plan.before->foreign) {
    plan.remaining.push_back({Code::kForeignFormat, std::string(kForeignFormatRemedy)});
    plan.before = plan.after = without_tensors(*plan.before);
    return plan;
  }
  std::shared_ptr<const CheckReport> reference;
  if (options.reference) {
    CheckOptions with;
    with.pool = options.pool;
    reference = std::make_shared<const CheckReport>(check_path(*options.reference, with));
    if (reference->plan == nullptr) {
      throw Error(fmt::format("{}: the reference is incomplete, so it cannot be used:{}\nRun `outrider check` on it.",
                              printable(options.reference->string(), 4096), incomplete_text(*reference)));
    }
  }
  // config.json first: it determines which tensors are missing.
  std::optional<std::string> config = repair_config(*plan.before, reference.get(), options, plan.actions);
  std::shared_ptr<const CheckReport> report = config ? check_of(directory, options, config) : plan.before;
  if (report->checkpoint->names_only()) {
    throw Error(fmt::format("{}: none of the files in its index is present. Download them first.",
                            printable(directory.string(), 4096)));
  }
  const std::string config_now = report->checkpoint->config_json();
  if (report->binding == nullptr) {
    Draft draft(report->checkpoint);
    plan.artifact = draft.finish();
    plan.after = report;
  } else {
    RepairContext context(*report, reference.get(), options, plan);
    repair_files(context);
    repair_names(context);
    repair_unwanted(context);
    repair_missing(context);
    repair_precision(context);
    repair_drafter(context);
    plan.artifact = context.draft.finish();
    plan.after = check_draft(context.draft, config_now);
    const auto quantization = repair_quantization_config(*plan.before, *plan.after, options, plan.actions);
    if (quantization) {
      config = quantization;
      plan.after = check_draft(context.draft, *config);
    }
  }
  take_tokenizer(*plan.before, options, plan);
  plan.artifact.others = directory;
  plan.artifact.texts.emplace_back("config.json", config.value_or(config_now));
  list_remaining(*report, reference.get(), options, plan);
  plan.before = without_tensors(*plan.before);
  plan.after = without_tensors(*plan.after);
  return plan;
}

}  // namespace outrider
