#include "outrider/check/sarif.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "outrider/checkpoint/index_file.h"
#include "outrider/util/encode_path.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr const char* kBase = "CHECKPOINT";

std::string_view level(Severity severity) {
  return severity == Severity::kInfo ? "none" : severity_name(severity);
}

ordered_json rules() {
  auto out = ordered_json::array();
  for (const FindingKind& kind : finding_kinds()) {
    out.push_back({{"id", kind.code},
                   {"name", kind.slug},
                   {"shortDescription", {{"text", kind.title}}},
                   {"fullDescription", {{"text", kind.effect}}},
                   {"help", {{"text", fmt::format("{} docs/findings/{}.md has details.", kind.remedy, kind.code)}}},
                   {"defaultConfiguration", {{"level", level(kind.severity)}}}});
  }
  return out;
}

// The file that a tensor is in; nothing if it is in none.
std::optional<std::string> file_of(const CheckReport& report, const std::string& tensor) {
  if (report.gguf) {
    const auto& sources = report.gguf->sources;
    const auto found = std::ranges::find(sources, tensor, &GgufSource::tensor);
    return found == sources.end() ? std::nullopt : std::optional(found->file);
  }
  const TensorInfo* found = report.checkpoint->find(tensor);
  if (found == nullptr || report.contents.names_only) return std::nullopt;
  return report.contents.files[found->file].name;
}

std::set<std::string> files_of(const CheckReport& report, const Finding& finding) {
  std::set<std::string> files;
  for (const TensorPattern& pattern : finding.tensors) {
    for (const std::string& name : pattern.count == 1 ? std::vector{pattern.pattern} : pattern.examples) {
      if (const auto file = file_of(report, name)) files.insert(*file);
    }
  }
  for (const ShardFile& file : report.contents.files) {
    if (files.empty() && finding.message.find(file.name) != std::string::npos) files.insert(file.name);
  }
  if (!files.empty()) return files;
  if (report.gguf) return {report.contents.files[0].name};
  const std::string_view code = finding.kind().code;
  const bool of_files = code < finding_kind(Code::kConfigFieldMissing).code;
  const bool of_tokenizer = finding.id == Code::kTokenizerMismatch || finding.id == Code::kTokenizerMissing;
  if (of_files && report.checkpoint->has_index()) return {"model" + std::string(kIndexSuffix)};
  return {of_tokenizer ? "tokenizer.json" : "config.json"};
}

ordered_json result(const CheckReport& report, const Finding& finding) {
  auto locations = ordered_json::array();
  for (const std::string& file : files_of(report, finding)) {
    locations.push_back(
        {{"physicalLocation", {{"artifactLocation", {{"uri", encode_path(file)}, {"uriBaseId", kBase}}}}}});
  }
  auto tensors = ordered_json::array();
  for (const TensorPattern& pattern : finding.tensors) {
    tensors.push_back({{"pattern", pattern.pattern}, {"count", pattern.count}});
  }
  ordered_json out = {{"ruleId", finding.kind().code}, {"ruleIndex", static_cast<int>(finding.id)}};
  if (finding.kind().severity == Severity::kInfo) out["kind"] = "informational";
  out["level"] = level(finding.kind().severity);
  out["message"] = {{"text", fmt::format("{}: {}. {}", finding.kind().title, finding.message, finding.remedy_text())}};
  out["locations"] = std::move(locations);
  out["properties"] = {{"tensors", std::move(tensors)}};
  return out;
}

std::string document(ordered_json run) {
  const ordered_json out = {{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                            {"version", "2.1.0"},
                            {"runs", ordered_json::array({std::move(run)})}};
  // Names in a checkpoint may be arbitrary bytes; JSON is UTF-8.
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json tool() {
  return {{"driver", {{"name", "outrider"}, {"semanticVersion", OUTRIDER_VERSION}, {"rules", rules()}}}};
}

}  // namespace

std::string report_sarif(const CheckReport& report) {
  std::error_code ignored;
  const std::filesystem::path& path = report.contents.path;
  const std::filesystem::path directory =
      std::filesystem::absolute(std::filesystem::is_directory(path, ignored) ? path : path.parent_path(), ignored);
  std::string base = report.remote ? path.string() : "file://" + encode_path(directory.lexically_normal().string());
  if (!base.ends_with('/')) base += '/';
  auto results = ordered_json::array();
  for (const Finding& finding : report.findings) results.push_back(result(report, finding));
  return document({{"tool", tool()},
                   {"originalUriBaseIds", {{kBase, {{"uri", base}}}}},
                   {"invocations", ordered_json::array({{{"executionSuccessful", true}}})},
                   {"results", std::move(results)}});
}

std::string failure_sarif(const std::string& message) {
  const ordered_json notification = {{"level", "error"}, {"message", {{"text", message}}}};
  return document(
      {{"tool", tool()},
       {"invocations", ordered_json::array({{{"executionSuccessful", false},
                                             {"toolExecutionNotifications", ordered_json::array({notification})}}})},
       {"results", ordered_json::array()}});
}

}  // namespace outrider
