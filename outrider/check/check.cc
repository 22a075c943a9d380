#include "outrider/check/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/check/context.h"
#include "outrider/util/error.h"

namespace outrider {

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string count_text(std::uint64_t count, std::string_view singular, std::string_view plural) {
  if (count == 1) return fmt::format("1 {}", singular);
  return plural.empty() ? fmt::format("{} {}s", grouped(count), singular)
                        : fmt::format("{} {}", grouped(count), plural);
}

namespace {

bool stands_before(const Finding& a, const Finding& b) {
  return std::pair(-static_cast<int>(a.kind().severity), a.kind().code) <
         std::pair(-static_cast<int>(b.kind().severity), b.kind().code);
}

// A foreign format is one finding for everything that follows from it.
void check_foreign_format(CheckContext& context) {
  const ForeignFormat& foreign = *context.report.foreign;
  std::vector<std::string> names;
  for (const TensorId t : foreign.tensors) names.push_back(context.checkpoint().name(t));
  context.add(Code::kForeignFormat, foreign.sentence(), names);
}

}  // namespace

void CheckReport::add(Finding finding) {
  const auto at = std::upper_bound(findings.begin(), findings.end(), finding, stands_before);
  findings.insert(at, std::move(finding));
}

std::uint64_t CheckReport::count(Severity severity) const {
  return static_cast<std::uint64_t>(
      std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.kind().severity == severity; }));
}

bool CheckReport::has(Code id) const {
  return std::any_of(findings.begin(), findings.end(), [&](const Finding& f) { return f.id == id; });
}

int CheckReport::exit_status(bool strict) const {
  if (std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.kind().unreadable; })) return 2;
  if (count(Severity::kError) != 0 || (strict && count(Severity::kWarning) != 0)) return 1;
  return 0;
}

CheckReport check_path(const std::filesystem::path& path, const CheckOptions& options) {
  return check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::open(path, *options.pool)), options);
}

CheckReport check_checkpoint(std::shared_ptr<const Checkpoint> checkpoint, const CheckOptions& options) {
  CheckReport report;
  report.checkpoint = std::move(checkpoint);
  report.contents = {report.checkpoint->root(), report.checkpoint->files(), report.checkpoint->tensors().size(),
                     report.checkpoint->tensor_bytes(), report.checkpoint->names_only()};
  CheckContext context(report, options);
  report.checkpoint->required_config_json();
  ModelReading read = read_model(*report.checkpoint, *options.pool);
  report.config = std::move(read.config);
  context.experts = std::move(read.experts);
  const ConfigReading& reading = *report.config;
  context.drafter = scan_drafter(*report.checkpoint, reading.config.num_hidden_layers);
  if (!reading.unsupported() && reading.shapes_known) {
    const auto manifest = manifest_for(reading.config, context.drafter, context.experts);
    BindResult result = bind(report.checkpoint, manifest, *options.pool, std::move(read.parsed));
    if (auto* plan = std::get_if<CompletePlan>(&result)) {
      report.plan = std::make_shared<const CompletePlan>(std::move(*plan));
      report.binding = std::shared_ptr<const BindingReport>(report.plan, &report.plan->report());
    } else {
      report.binding = std::make_shared<const BindingReport>(std::move(std::get<BindingReport>(result)));
    }
  }
  if (!reading.unsupported()) {
    report.foreign = recognise_foreign_format(*report.checkpoint, reading, report.binding.get());
    if (report.foreign) report.plan.reset();
  }
  if (report.binding != nullptr) context.unread.emplace(*report.binding);
  check_files(context);
  check_config(context);
  check_tokenizer(context);
  if (!reading.unsupported()) check_drafter(context);
  if (report.foreign) {
    check_foreign_format(context);
  } else if (report.binding != nullptr) {
    check_binding(context);
    check_spelling(context);
    check_quantization_config(context);
    check_storage(context);
    if (options.data || options.drafter_data) check_values(context);
    if (options.reference) check_reference(context);
  }
  recognise_family(context);
  std::stable_sort(report.findings.begin(), report.findings.end(), stands_before);
  return report;
}

}  // namespace outrider
