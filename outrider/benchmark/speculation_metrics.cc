#include "outrider/benchmark/speculation_metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace outrider {
namespace {

constexpr std::size_t kMaxPositions = 1024;

// The value of a sample, after its name and labels. Label values may contain anything, including "}" and spaces.
std::optional<double> value_of(std::string_view line) {
  std::size_t end = line.find_first_of("{ ");
  if (end == std::string_view::npos) return {};
  if (line[end] == '{') {
    bool quoted = false;
    for (++end; end < line.size() && (quoted || line[end] != '}'); ++end) {
      if (line[end] == '"') quoted = !quoted;
      if (line[end] == '\\') ++end;
    }
    ++end;
  }
  while (end < line.size() && line[end] == ' ') ++end;
  double value = 0;
  if (end >= line.size()) return {};
  if (std::from_chars(line.data() + end, line.data() + line.size(), value).ec != std::errc{}) return {};
  return std::isfinite(value) && value >= 0 && value < 0x1p63 ? std::optional(value) : std::nullopt;
}

std::optional<std::size_t> position_of(std::string_view line) {
  constexpr std::string_view kLabel = "position=\"";
  const std::size_t at = line.find(kLabel);
  if (at == std::string_view::npos) return {};
  std::size_t position = 0;
  const auto [end, error] = std::from_chars(line.data() + at + kLabel.size(), line.data() + line.size(), position);
  if (error != std::errc{} || end == line.data() + line.size() || *end != '"') return {};
  return position < kMaxPositions ? std::optional(position) : std::nullopt;
}

}  // namespace

std::optional<SpeculationCounts> read_speculation_metrics(std::string_view metrics) {
  SpeculationCounts counts;
  bool found = false;
  while (!metrics.empty()) {
    const std::size_t end = std::min(metrics.find('\n'), metrics.size());
    const std::string_view line = metrics.substr(0, end);
    metrics.remove_prefix(std::min(end + 1, metrics.size()));
    const std::string_view name = line.substr(0, line.find_first_of("{ "));
    constexpr std::string_view kPrefix = "vllm:spec_decode_num_";
    if (!name.starts_with(kPrefix)) continue;
    const std::optional<double> value = value_of(line);
    if (!value) continue;
    const auto count = static_cast<std::uint64_t>(*value);
    const std::string_view rest = name.substr(kPrefix.size());
    if (rest == "drafts_total") {
      counts.drafts += count;
    } else if (rest == "draft_tokens_total") {
      counts.draft_tokens += count;
    } else if (rest == "accepted_tokens_total") {
      counts.accepted_tokens += count;
    } else if (const auto position = position_of(line); rest == "accepted_tokens_per_pos_total" && position) {
      counts.accepted_per_position.resize(std::max(counts.accepted_per_position.size(), *position + 1));
      counts.accepted_per_position[*position] += count;
    } else {
      continue;
    }
    found = true;
  }
  return found ? std::optional(std::move(counts)) : std::nullopt;
}

}  // namespace outrider
