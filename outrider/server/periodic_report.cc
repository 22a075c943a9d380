#include "outrider/server/periodic_report.h"

#include <fmt/format.h>

#include <utility>

namespace outrider {

void PeriodicReport::add(const StepReport& report) {
  const std::lock_guard lock(mutex_);
  since_.prompt_tokens += report.prompt_tokens;
  since_.cached_tokens += report.cached_tokens;
  since_.generation_tokens += report.generation_tokens;
  since_.speculation += report.speculation;
  since_.running = report.running;
  since_.waiting = report.waiting;
  since_.kv_usage = report.kv_usage;
}

std::vector<std::string> PeriodicReport::lines(double seconds) {
  StepReport report;
  bool was_idle = false;
  {
    const std::lock_guard lock(mutex_);
    report = since_;
    since_ = {};
    since_.running = report.running;
    since_.waiting = report.waiting;
    since_.kv_usage = report.kv_usage;
    const bool idle =
        report.running == 0 && report.waiting == 0 && report.prompt_tokens == 0 && report.generation_tokens == 0;
    was_idle = std::exchange(idle_, idle) && idle;
  }
  if (was_idle) return {};
  const auto rate = [&](std::uint64_t count) { return static_cast<double>(count) / seconds; };
  const auto percent = [](std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0.0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
  };
  std::vector<std::string> lines;
  lines.push_back(fmt::format(
      "Avg prompt throughput: {:.1f} tokens/s, Avg generation throughput: {:.1f} tokens/s, Running: {} reqs, "
      "Waiting: {} reqs, KV cache usage: {:.1f}%, Prefix cache hit rate: {:.1f}%",
      rate(report.prompt_tokens), rate(report.generation_tokens), report.running, report.waiting, 100 * report.kv_usage,
      percent(report.cached_tokens, report.prompt_tokens)));
  const SpeculationCounts& counts = report.speculation;
  if (counts.drafts == 0) return lines;
  std::string per_position;
  for (const std::uint64_t accepted : counts.accepted_per_position) {
    per_position += fmt::format("{}{:.3f}", per_position.empty() ? "" : ", ", percent(accepted, counts.drafts) / 100);
  }
  lines.push_back(fmt::format(
      "SpecDecoding metrics: Mean acceptance length: {:.2f}, Accepted throughput: {:.2f} tokens/s, Drafted "
      "throughput: {:.2f} tokens/s, Accepted: {} tokens, Drafted: {} tokens, Per-position acceptance rate: {}, Avg "
      "Draft acceptance rate: {:.1f}%",
      counts.acceptance_length(), rate(counts.accepted_tokens), rate(counts.draft_tokens), counts.accepted_tokens,
      counts.draft_tokens, per_position, 100 * counts.acceptance_rate()));
  return lines;
}

}  // namespace outrider
