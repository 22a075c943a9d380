#include "outrider/benchmark/latency_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "outrider/benchmark/statistics.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr int kPercentiles[] = {10, 25, 50, 75, 90, 99};

// Decoding throughput in tokens per second, without each sequence's first token, of the median iteration.
double decode_rate(const LatencyResult& result, const LatencyBenchmarkOptions& options) {
  std::vector<double> seconds;
  for (std::size_t i = 0; i < result.latencies.size(); ++i) {
    seconds.push_back(result.latencies[i] - result.prefills[i]);
  }
  const double middle = median(std::move(seconds));
  return middle > 0 ? static_cast<double>(result.batch_size * (options.output_len - 1)) / middle : 0;
}

const LatencyResult* find(std::span<const LatencyResult> results, std::size_t batch_size, std::size_t k) {
  const auto found = std::ranges::find_if(results, [&](const LatencyResult& result) {
    return result.batch_size == batch_size && result.num_speculative_tokens == k;
  });
  return found == results.end() ? nullptr : &*found;
}

// The throughput relative to `other`; nothing if that was not measured.
std::optional<double> ratio(const LatencyResult& result, const LatencyResult* other,
                            const LatencyBenchmarkOptions& options) {
  const double rate = other == nullptr ? 0 : decode_rate(*other, options);
  return rate > 0 ? std::optional(decode_rate(result, options) / rate) : std::nullopt;
}

ordered_json optional_json(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

std::string k_text(std::size_t k) {
  return k == kAutomatic ? "auto" : std::to_string(k);
}

std::string cell(const std::optional<double>& value, const char* unit) {
  return value ? fmt::format("{:.2f}{}", *value, unit) : "-";
}

}  // namespace

ordered_json latency_report_json(std::span<const LatencyResult> results, const LatencyBenchmarkOptions& options) {
  ordered_json out = ordered_json::object();
  ordered_json list = ordered_json::array();
  for (const LatencyResult& result : results) {
    ordered_json percentiles = ordered_json::object();
    for (const int percent : kPercentiles) percentiles[std::to_string(percent)] = percentile(result.latencies, percent);
    const ordered_json vllm = {{"avg_latency", mean(result.latencies)},
                               {"std_latency", standard_deviation(result.latencies)},
                               {"latencies", result.latencies},
                               {"percentiles", std::move(percentiles)}};
    if (results.size() == 1) out.update(vllm);
    ordered_json entry = {{"batch_size", result.batch_size}};
    if (result.num_speculative_tokens == kAutomatic) {
      entry["num_speculative_tokens"] = "auto";
    } else {
      entry["num_speculative_tokens"] = result.num_speculative_tokens;
    }
    entry.update(vllm);
    entry["median_prefill_latency"] = median(result.prefills);
    entry["decode_throughput"] = decode_rate(result, options);
    entry["decode_ratio_to_no_speculation"] =
        optional_json(ratio(result, find(results, result.batch_size, 0), options));
    entry["decode_ratio_to_batch_1"] =
        optional_json(ratio(result, find(results, 1, result.num_speculative_tokens), options));
    const SpeculationCounts& counts = result.speculation;
    if (counts.drafts != 0) {
      entry["spec_decode_acceptance_rate"] = 100 * counts.acceptance_rate();
      entry["spec_decode_acceptance_length"] = counts.acceptance_length();
      entry["spec_decode_num_drafts"] = counts.drafts;
      entry["spec_decode_draft_tokens"] = counts.draft_tokens;
      entry["spec_decode_accepted_tokens"] = counts.accepted_tokens;
    }
    if (counts.left_out_tokens != 0) entry["spec_decode_left_out_tokens"] = counts.left_out_tokens;
    list.push_back(std::move(entry));
  }
  out["results"] = std::move(list);
  return out;
}

std::string latency_report_text(std::span<const LatencyResult> results, const LatencyBenchmarkOptions& options) {
  std::string out =
      fmt::format("{:>5} {:>4} {:>11} {:>11} {:>11} {:>11} {:>14} {:>8} {:>11} {:>10}\n", "batch", "k", "median (s)",
                  "p90 (s)", "p99 (s)", "prefill (s)", "decode (tok/s)", "x k=0", "x batch 1", "accepted");
  for (const LatencyResult& result : results) {
    const SpeculationCounts& counts = result.speculation;
    out +=
        fmt::format("{:>5} {:>4} {:>11.4f} {:>11.4f} {:>11.4f} {:>11.4f} {:>14.2f} {:>8} {:>11} {:>10}\n",
                    result.batch_size, k_text(result.num_speculative_tokens), median(result.latencies),
                    percentile(result.latencies, 90), percentile(result.latencies, 99), median(result.prefills),
                    decode_rate(result, options), cell(ratio(result, find(results, result.batch_size, 0), options), ""),
                    cell(ratio(result, find(results, 1, result.num_speculative_tokens), options), ""),
                    cell(counts.drafts == 0 ? std::nullopt : std::optional(100 * counts.acceptance_rate()), "%"));
  }
  return out;
}

std::string breakdown_text(std::span<const LatencyResult> results) {
  std::string out;
  for (const LatencyResult& result : results) {
    const DecodeBreakdown& b = result.breakdown;
    if (b.steps == 0) continue;
    const auto steps = static_cast<double>(b.steps);
    const double whole = b.seconds / steps;
    const auto line = [&](std::string_view name, double model, std::optional<double> drafter) {
      const double both = (model + drafter.value_or(0)) / steps;
      out += fmt::format("  {:<28} {:>9.3f} {:>9} {:>6.1f}%\n", name, 1e3 * model / steps,
                         drafter ? fmt::format("{:.3f}", 1e3 * *drafter / steps) : "", 100 * both / whole);
    };
    const bool drafts = b.drafter_seconds > 0;
    const auto drafter = [&](double seconds) { return drafts ? std::optional(seconds) : std::nullopt; };
    out += fmt::format("\nbatch {}, k {}: a decode step takes {:.3f} ms\n  {:<28} {:>9} {:>9} {:>7}\n",
                       result.batch_size, k_text(result.num_speculative_tokens), 1e3 * whole, "operation", "model ms",
                       drafts ? "draft ms" : "", "share");
    for (std::size_t i = 0; i < kOperations; ++i) {
      const auto operation = static_cast<Operation>(i);
      line(operation_name(operation), b.model[operation], drafter(b.drafter[operation]));
    }
    line("sampling and bookkeeping", b.seconds - b.drafter_seconds - b.model.total(),
         drafter(b.drafter_seconds - b.drafter.total()));
  }
  return out;
}

}  // namespace outrider
