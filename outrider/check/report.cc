#include "outrider/check/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "outrider/binding/open_plan.h"
#include "outrider/check/context.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kPatternsShown = 8;

std::string wrap(std::string_view text, unsigned width, std::string_view indent) {
  std::string out;
  std::size_t column = 0;
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    if (column != 0 && column + 1 + word.size() > width) {
      out += '\n';
      column = 0;
    }
    if (column == 0) {
      out += indent;
      column = indent.size();
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string_view drafter_name(DrafterKind kind) {
  switch (kind) {
    case DrafterKind::kNone:
      return "none";
    case DrafterKind::kMtp:
      return "mtp";
    case DrafterKind::kDspark:
      return "dspark";
  }
  return "";
}

std::string copies(std::uint32_t own, std::uint32_t blocks) {
  return own == 0 ? "the model's" : own == blocks ? "its own copy" : fmt::format("{} of {} its own", own, blocks);
}

std::string drafter_line(const DrafterSummary& d) {
  switch (d.kind) {
    case DrafterKind::kNone:
      return d.announced == 0 ? "none" : fmt::format("none ({} announced by config.json)", d.announced);
    case DrafterKind::kDspark:
      return fmt::format("DSpark, {} stages, {} tensors; head: {}, embedding: {}", d.blocks, grouped(d.tensors),
                         copies(d.own_heads, 1), copies(d.own_embeddings, 1));
    case DrafterKind::kMtp:
      return fmt::format("{}, {} tensors; head: {}, embedding: {}", count_text(d.blocks, "block"), grouped(d.tensors),
                         copies(d.own_heads, d.blocks), copies(d.own_embeddings, d.blocks));
  }
  return "";
}

std::string remote_line(const RemoteSummary& r) {
  const std::string commit = r.commit.empty() ? "" : fmt::format("commit {}, ", r.commit.substr(0, 12));
  if (r.offline) return commit + "headers from the cache, offline";
  const std::string read =
      fmt::format("{} in {}, {:.2f} s", bytes_text(r.bytes), count_text(r.requests, "request"), r.seconds);
  if (r.files_read == 0) return fmt::format("{}{}; unchanged since the last time", commit, read);
  return fmt::format("{}{}; config, index and headers, no tensors and no tokenizer", commit, read);
}

// The files whose tensors are counted: all that are present; with only an index, all that it lists.
std::size_t files_counted(const ContentSummary& contents) {
  if (contents.names_only) return contents.files.size();
  return static_cast<std::size_t>(std::ranges::count_if(contents.files, &ShardFile::present));
}

std::string verdict(const CheckReport& report, bool strict) {
  const auto counts = [&] {
    std::string out;
    for (const auto& [severity, name] :
         {std::pair{Severity::kError, "error"}, {Severity::kWarning, "warning"}, {Severity::kNote, "note"}}) {
      if (const std::uint64_t n = report.count(severity); n != 0)
        out += (out.empty() ? "" : ", ") + count_text(n, name);
    }
    return out.empty() ? std::string("no findings") : out;
  }();
  switch (report.exit_status(strict)) {
    case 0:
      return fmt::format("SOUND: every parameter is bound to exactly one source ({})", counts);
    case 2:
      return fmt::format("UNREADABLE in part ({})", counts);
    default:
      if (report.foreign) return fmt::format("UNSUPPORTED STORAGE FORM ({})", counts);
      return report.complete() ? fmt::format("COMPLETE, BUT NOT SOUND ({})", counts)
             : report.binding != nullptr && lacks_only_its_drafter(*report.binding)
                 ? fmt::format("COMPLETE BUT FOR ITS DRAFTER ({}); the model runs with --no-speculation", counts)
                 : fmt::format("NOT COMPLETE ({})", counts);
  }
}

nlohmann::ordered_json patterns_json(const std::vector<TensorPattern>& patterns) {
  auto out = nlohmann::ordered_json::array();
  for (const TensorPattern& p : patterns) {
    out.push_back({{"pattern", p.pattern}, {"count", p.count}, {"examples", p.examples}});
  }
  return out;
}

}  // namespace

std::string report_text(const CheckReport& report, unsigned width, bool colour, bool strict) {
  const auto paint = [&](std::string_view code, std::string_view text) {
    return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
  };
  const ContentSummary& contents = report.contents;
  std::string out;
  out += fmt::format("{}\n\n", paint("1", printable(contents.path.string(), 4096)));
  out += fmt::format("  family     {}\n", printable(report.family));
  if (!report.dialect.empty()) out += fmt::format("  names      {}\n", report.dialect);
  std::uint64_t parameters = 0;
  for (const GroupSummary& g : report.groups) parameters += g.elements;
  out += fmt::format("  contents   {} in {}, {}", count_text(contents.tensors, "tensor"),
                     count_text(files_counted(contents), "file"),
                     contents.names_only ? "sizes unknown" : bytes_text(contents.tensor_bytes));
  if (parameters != 0) out += fmt::format(", {:.3g} billion parameters", static_cast<double>(parameters) / 1e9);
  out += "\n";
  out += fmt::format("  drafter    {}\n", drafter_line(report.drafter));
  if (report.remote) out += fmt::format("  read       {}\n", remote_line(*report.remote));
  if (report.scan) {
    out += fmt::format("  values     {} read in {:.1f} s, {:.2f} GB/s\n", bytes_text(report.scan->bytes),
                       report.scan->seconds,
                       static_cast<double>(report.scan->bytes) / 1e9 / std::max(report.scan->seconds, 1e-9));
  }
  if (report.probe) {
    const ProbeSummary& p = *report.probe;
    out += fmt::format("  probe      {} of {} drafts accepted ({:.1f}%; by prompt {:.0f} to {:.0f}%), {}, {:.1f} s\n",
                       p.accepted, p.drafts, 100 * p.rate(), 100 * p.lowest, 100 * p.highest,
                       count_text(p.prompts, "prompt"), p.seconds);
  }
  if (!report.groups.empty()) {
    out += fmt::format("\n  {:<28} {:<26} {:>10} {:>12}\n", "modules", "stored as", "parameters", "bytes");
    for (const GroupSummary& g : report.groups) {
      out += fmt::format("  {:<28} {:<26} {:>10} {:>12}\n",
                         fmt::format("{}{}", g.drafter ? "mtp: " : "", module_group_name(g.group)), g.form,
                         grouped(g.parameters), contents.names_only ? "?" : bytes_text(g.bytes));
    }
  }
  bool heading = false;
  for (const auto& [use, patterns] : report.unused) {
    std::uint64_t count = 0;
    for (const TensorPattern& p : patterns) count += p.count;
    out += fmt::format("{}  unused     {}: {}\n", heading ? "" : "\n", count_text(count, "tensor"),
                       tensor_use_reason(use));
    heading = true;
  }
  for (const Finding& f : report.findings) {
    const FindingKind& kind = f.kind();
    const std::string_view hue = kind.severity == Severity::kError     ? "1;31"
                                 : kind.severity == Severity::kWarning ? "1;33"
                                                                       : "1;36";
    if (kind.severity == Severity::kInfo) {
      out +=
          fmt::format("\n{} {}: {}\n", paint(hue, fmt::format("{} info", kind.code)), kind.title, printable(f.message));
      continue;
    }
    out += fmt::format("\n{} {}\n", paint(hue, fmt::format("{} {}", kind.code, severity_name(kind.severity))),
                       paint("1", kind.title));
    out += wrap(printable(f.message, 2000), width, "    ");
    for (std::size_t i = 0; i < f.tensors.size() && i < kPatternsShown; ++i) {
      const TensorPattern& p = f.tensors[i];
      out += p.count == 1 ? fmt::format("      {}\n", printable(p.pattern))
                          : fmt::format("      {} ({})\n", printable(p.pattern), grouped(p.count));
    }
    if (f.tensors.size() > kPatternsShown)
      out += fmt::format("      and {} more patterns (--json lists them)\n", f.tensors.size() - kPatternsShown);
    out += wrap(fmt::format("Effect: {}", kind.effect), width, "    ");
    out += wrap(fmt::format("Remedy: {}", f.remedy_text()), width, "    ");
  }
  const int status = report.exit_status(strict);
  out += fmt::format("\n{}\n", paint(status == 0 ? "1;32" : "1;31", verdict(report, strict)));
  return out;
}

std::string report_json(const CheckReport& report, bool strict) {
  using nlohmann::ordered_json;
  const ContentSummary& contents = report.contents;
  ordered_json out;
  out["schema_version"] = 1;
  out["path"] = contents.path.string();
  out["exit_status"] = report.exit_status(strict);
  out["sound"] = report.exit_status(strict) == 0;
  out["complete"] = report.complete();
  out["names_only"] = contents.names_only;
  out["family"] = report.family;
  out["dialect"] = report.dialect;
  out["files"] = ordered_json::array();
  for (const ShardFile& f : contents.files) {
    ordered_json file = {{"name", f.name}, {"present", f.present},  {"in_index", f.in_index},
                         {"used", f.used}, {"bytes", f.file_bytes}, {"tensors", f.tensor_count}};
    if (!f.problem.empty()) file["problem"] = f.problem;
    out["files"].push_back(std::move(file));
  }
  std::uint64_t parameters = 0;
  for (const GroupSummary& g : report.groups) parameters += g.elements;
  out["tensors"] = contents.tensors;
  out["tensor_bytes"] = contents.tensor_bytes;
  out["parameters"] = parameters;
  const DrafterSummary& d = report.drafter;
  out["drafter"] = {{"kind", drafter_name(d.kind)}, {"announced", d.announced}, {"blocks", d.blocks},
                    {"tensors", d.tensors},         {"own_heads", d.own_heads}, {"own_embeddings", d.own_embeddings}};
  out["groups"] = ordered_json::array();
  for (const GroupSummary& g : report.groups) {
    out["groups"].push_back({{"group", module_group_name(g.group)},
                             {"drafter", g.drafter},
                             {"form", g.form},
                             {"parameters", g.parameters},
                             {"elements", g.elements},
                             {"bytes", g.bytes}});
  }
  out["unused"] = ordered_json::array();
  for (const auto& [use, patterns] : report.unused) {
    out["unused"].push_back({{"reason", tensor_use_reason(use)}, {"tensors", patterns_json(patterns)}});
  }
  out["findings"] = ordered_json::array();
  for (const Finding& f : report.findings) {
    const FindingKind& kind = f.kind();
    out["findings"].push_back({{"code", kind.code},
                               {"slug", kind.slug},
                               {"severity", severity_name(kind.severity)},
                               {"title", kind.title},
                               {"message", f.message},
                               {"tensors", patterns_json(f.tensors)},
                               {"effect", kind.effect},
                               {"remedy", f.remedy_text()}});
  }
  if (report.scan) {
    out["scan"] = {{"bytes", report.scan->bytes},
                   {"seconds", report.scan->seconds},
                   {"gb_per_s", static_cast<double>(report.scan->bytes) / 1e9 / std::max(report.scan->seconds, 1e-9)}};
  }
  if (report.probe) {
    const ProbeSummary& p = *report.probe;
    out["probe"] = {{"prompts", p.prompts},        {"drafts", p.drafts}, {"accepted", p.accepted},
                    {"acceptance_rate", p.rate()}, {"lowest", p.lowest}, {"highest", p.highest},
                    {"seconds", p.seconds}};
  }
  if (report.remote) {
    const RemoteSummary& r = *report.remote;
    out["remote"] = {{"commit", r.commit}, {"offline", r.offline},       {"requests", r.requests},
                     {"bytes", r.bytes},   {"files_read", r.files_read}, {"seconds", r.seconds}};
  }
  // Names in a checkpoint may be arbitrary bytes; JSON is UTF-8.
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string incomplete_text(const CheckReport& report) {
  if (report.binding != nullptr && !report.binding->names_only) return incomplete_text(*report.binding);
  std::string out;
  for (const Finding& f : report.findings) {
    if (f.kind().severity == Severity::kError)
      out += fmt::format("\n  {} {}", f.kind().code, printable(f.message, 400));
  }
  return out;
}

std::string parameter_map(const CheckReport& report) {
  std::string out = "parameter\tfile\ttensor\tform\n";
  if (report.gguf) {
    for (const GgufSource& source : report.gguf->sources) {
      out += source.tensor.empty() ? fmt::format("{}\t-\t-\tnot bound\n", source.parameter)
                                   : fmt::format("{}\t{}\t{}\t{}\n", source.parameter, printable(source.file),
                                                 printable(source.tensor), source.form);
    }
    return out;
  }
  if (report.binding == nullptr) return out;
  const BindingReport& binding = *report.binding;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Parameter& parameter = (*binding.manifest)[p];
    const Binding& b = binding.bindings[p];
    if (b.shared && parameter.block.kind == BlockKind::kDspark) continue;  // stages usually have none of their own
    out += parameter.name();
    const auto t = b.tensor(b.codes());
    if (!b.bound || !t) {
      out += "\t-\t-\tnot bound\n";
      continue;
    }
    const TensorInfo& tensor = binding.tensor(*t);
    out += fmt::format("\t{}\t{}\t{}", printable(report.checkpoint->files()[tensor.file].name),
                       printable(binding.stored_name(*t)), stored_form(binding, p));
    if (b.part != ExpertPart::kNone) out += fmt::format(" [slice of expert {}]", parameter.expert);
    out += b.shared ? " [shared]\n" : "\n";
  }
  return out;
}

}  // namespace outrider
