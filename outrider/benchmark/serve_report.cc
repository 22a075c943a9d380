#include "outrider/benchmark/serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string_view>
#include <utility>

#include "outrider/benchmark/statistics.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kErrorsShown = 10;

struct Metric {
  std::string_view key;
  std::string_view name;
  std::string_view title;
};
constexpr std::array<Metric, 6> kMetrics = {{
    {"ttft", "TTFT", "Time to First Token"},
    {"tpot", "TPOT", "Time per Output Token (excl. 1st token)"},
    {"itl", "ITL", "Inter-token Latency"},
    {"e2el", "E2EL", "End-to-end Latency"},
    {"client_queue_time", "Client Queue Time", "Client-side Queueing"},
    {"e2el_including_client_queue", "E2EL incl. Client Queue", "Queue-inclusive End-to-end Latency"},
}};

double time_per_output_token(const RequestOutcome& outcome) {
  if (outcome.output_tokens < 2) return 0;
  return (outcome.latency - outcome.ttft) / static_cast<double>(outcome.output_tokens - 1);
}

// The values of the successful requests, in milliseconds.
std::vector<double> values_of(std::string_view metric, const ServeRun& run) {
  std::vector<double> values;
  for (const RequestOutcome& outcome : run.outcomes) {
    if (!outcome.success()) continue;
    if (metric == "ttft") values.push_back(outcome.ttft);
    if (metric == "tpot" && outcome.output_tokens > 1) values.push_back(time_per_output_token(outcome));
    if (metric == "itl") values.insert(values.end(), outcome.itl.begin(), outcome.itl.end());
    if (metric == "e2el") values.push_back(outcome.latency);
    if (metric == "client_queue_time") values.push_back(outcome.queue_time);
    if (metric == "e2el_including_client_queue") values.push_back(outcome.latency + outcome.queue_time);
  }
  for (double& value : values) value *= 1000;
  return values;
}

std::size_t count_good(const ServeRun& run, const std::map<std::string, double>& limits) {
  return static_cast<std::size_t>(std::ranges::count_if(run.outcomes, [&](const RequestOutcome& outcome) {
    return outcome.success() && std::ranges::all_of(limits, [&](const auto& limit) {
             const double value = limit.first == "ttft"   ? outcome.ttft
                                  : limit.first == "tpot" ? time_per_output_token(outcome)
                                                          : outcome.latency;
             return value * 1000 <= limit.second;
           });
  }));
}

// The maximum number of tokens received in one second of the run. A response's events share its tokens evenly.
double peak_tokens(const ServeRun& run) {
  std::map<std::size_t, double> per_second;
  for (const RequestOutcome& outcome : run.outcomes) {
    if (!outcome.success()) continue;
    const double tokens = static_cast<double>(outcome.output_tokens) / static_cast<double>(outcome.itl.size() + 1);
    double time = outcome.start + outcome.ttft;
    per_second[static_cast<std::size_t>(time)] += tokens;
    for (const double interval : outcome.itl) per_second[static_cast<std::size_t>(time += interval)] += tokens;
  }
  double most = 0;
  for (const auto& [second, tokens] : per_second) most = std::max(most, tokens);
  return most;
}

std::size_t peak_concurrency(const ServeRun& run) {
  std::vector<std::pair<double, int>> changes;  // at the same time, an end sorts before a start
  for (const RequestOutcome& outcome : run.outcomes) {
    if (!outcome.success()) continue;
    changes.emplace_back(outcome.start, 1);
    changes.emplace_back(outcome.start + outcome.latency, -1);
  }
  std::ranges::sort(changes);
  std::ptrdiff_t now = 0;
  std::ptrdiff_t most = 0;
  for (const auto& [time, change] : changes) most = std::max(most, now += change);
  return static_cast<std::size_t>(most);
}

std::vector<double> per_position(const SpeculationCounts& counts) {
  std::vector<double> rates;
  for (const std::uint64_t accepted : counts.accepted_per_position) {
    rates.push_back(static_cast<double>(accepted) / static_cast<double>(counts.drafts));
  }
  return rates;
}

std::string percentile_word(double percent) {
  return percent == std::floor(percent) ? fmt::format("{:.0f}", percent) : fmt::format("{}", percent);
}

void add_details(ordered_json& out, const ServeRun& run) {
  const auto add = [&](const char* key, const std::function<ordered_json(const RequestOutcome&)>& value) {
    out[key] = ordered_json::array();
    for (const RequestOutcome& outcome : run.outcomes) out[key].push_back(value(outcome));
  };
  add("input_lens", [](const RequestOutcome& o) { return o.prompt_tokens; });
  add("output_lens", [](const RequestOutcome& o) { return o.success() ? o.output_tokens : 0; });
  add("ttfts", [](const RequestOutcome& o) { return o.ttft; });
  add("itls", [](const RequestOutcome& o) { return o.itl; });
  add("latencies", [](const RequestOutcome& o) { return o.latency; });
  add("start_times", [](const RequestOutcome& o) { return o.start; });
  add("queue_times", [](const RequestOutcome& o) { return o.queue_time; });
  add("generated_texts", [](const RequestOutcome& o) { return o.text; });
  add("errors", [](const RequestOutcome& o) { return o.error; });
}

std::string row(std::string_view label, double value) {
  return fmt::format("{:<40} {:<10.2f}\n", label, value);
}
std::string row(std::string_view label, std::uint64_t value) {
  return fmt::format("{:<40} {:<10}\n", label, value);
}

}  // namespace

void validate(const ServeReportOptions& options) {
  for (const std::string& metric : options.metrics) {
    if (std::ranges::find(kMetrics, metric, &Metric::key) != kMetrics.end()) continue;
    throw Error(fmt::format("\"{}\" is not a metric; supported are {}.", printable(metric),
                            fmt::join(std::vector<std::string_view>{"ttft", "tpot", "itl", "e2el", "client_queue_time",
                                                                    "e2el_including_client_queue"},
                                      ", ")));
  }
  for (const double percent : options.percentiles) {
    if (!(percent >= 0 && percent <= 100))
      throw Error(fmt::format("{} is not a percentile; it must be from 0 to 100.", percent));
  }
  for (const auto& [metric, limit] : options.goodput) {
    if (metric != "ttft" && metric != "tpot" && metric != "e2el") {
      throw Error(
          fmt::format("\"{}\" is not a metric of --goodput; supported are ttft, tpot, e2el.", printable(metric)));
    }
    if (!(limit >= 0)) throw Error(fmt::format("The limit of {} must be a number of milliseconds.", metric));
  }
}

ordered_json serve_report_json(const ServeRun& run, const ServeBenchmarkOptions&, const ServeReportOptions& report) {
  std::size_t completed = 0;
  std::size_t input = 0;
  std::size_t output = 0;
  for (const RequestOutcome& outcome : run.outcomes) {
    if (!outcome.success()) continue;
    ++completed;
    input += outcome.prompt_tokens;
    output += outcome.output_tokens;
  }
  const auto rate = [&run](std::size_t count) {
    return run.duration > 0 ? static_cast<double>(count) / run.duration : 0.0;
  };
  ordered_json out = {{"duration", run.duration},
                      {"completed", completed},
                      {"failed", run.outcomes.size() - completed},
                      {"total_input_tokens", input},
                      {"total_output_tokens", output},
                      {"request_throughput", rate(completed)},
                      {"request_goodput", nullptr},
                      {"output_throughput", rate(output)},
                      {"total_token_throughput", rate(input + output)}};
  if (!report.goodput.empty()) out["request_goodput"] = rate(count_good(run, report.goodput));
  if (report.detailed) add_details(out, run);
  out["max_output_tokens_per_s"] = peak_tokens(run);
  out["max_concurrent_requests"] = peak_concurrency(run);
  if (const auto& counts = run.speculation) {
    out["spec_decode_acceptance_rate"] = 100 * counts->acceptance_rate();
    out["spec_decode_acceptance_length"] = counts->acceptance_length();
    out["spec_decode_num_drafts"] = counts->drafts;
    out["spec_decode_draft_tokens"] = counts->draft_tokens;
    out["spec_decode_accepted_tokens"] = counts->accepted_tokens;
    out["spec_decode_per_position_acceptance_rates"] = per_position(*counts);
  }
  for (const Metric& metric : kMetrics) {
    if (std::ranges::find(report.metrics, metric.key) == report.metrics.end()) continue;
    const std::vector<double> values = values_of(metric.key, run);
    out[fmt::format("mean_{}_ms", metric.key)] = mean(values);
    out[fmt::format("median_{}_ms", metric.key)] = median(values);
    out[fmt::format("std_{}_ms", metric.key)] = standard_deviation(values);
    for (const double percent : report.percentiles) {
      out[fmt::format("p{}_{}_ms", percentile_word(percent), metric.key)] = percentile(values, percent);
    }
  }
  return out;
}

std::string serve_report_text(const ServeRun& run, const ServeBenchmarkOptions& options,
                              const ServeReportOptions& report) {
  ServeReportOptions brief = report;
  brief.detailed = false;
  const ordered_json json = serve_report_json(run, options, brief);
  const auto count = [&json](const char* key) { return json[key].get<std::uint64_t>(); };
  const auto number = [&json](const std::string& key) { return json[key].get<double>(); };
  std::string out;
  std::size_t shown = 0;
  for (std::size_t i = 0; i < run.outcomes.size() && shown < kErrorsShown; ++i) {
    if (run.outcomes[i].success()) continue;
    if (shown++ == 0)
      out += fmt::format("{} of {} requests failed; the first:\n", count("failed"), run.outcomes.size());
    out += fmt::format("  request {}: {}\n", i, printable(run.outcomes[i].error, 600));
  }
  out += fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  out += row("Successful requests:", count("completed"));
  out += row("Failed requests:", count("failed"));
  if (options.max_concurrency) out += row("Maximum request concurrency:", std::uint64_t{*options.max_concurrency});
  if (std::isfinite(options.request_rate)) out += row("Request rate configured (RPS):", options.request_rate);
  out += row("Benchmark duration (s):", number("duration"));
  out += row("Total input tokens:", count("total_input_tokens"));
  out += row("Total generated tokens:", count("total_output_tokens"));
  out += row("Request throughput (req/s):", number("request_throughput"));
  if (!report.goodput.empty()) out += row("Request goodput (req/s):", number("request_goodput"));
  out += row("Output token throughput (tok/s):", number("output_throughput"));
  out += row("Peak output token throughput (tok/s):", number("max_output_tokens_per_s"));
  out += row("Peak concurrent requests:", count("max_concurrent_requests"));
  out += row("Total token throughput (tok/s):", number("total_token_throughput"));
  for (const Metric& metric : kMetrics) {
    if (std::ranges::find(report.metrics, metric.key) == report.metrics.end()) continue;
    out += fmt::format("{:-^50}\n", metric.title);
    out += row(fmt::format("Mean {} (ms):", metric.name), number(fmt::format("mean_{}_ms", metric.key)));
    out += row(fmt::format("Median {} (ms):", metric.name), number(fmt::format("median_{}_ms", metric.key)));
    for (const double percent : report.percentiles) {
      const std::string word = percentile_word(percent);
      out += row(fmt::format("P{} {} (ms):", word, metric.name), number(fmt::format("p{}_{}_ms", word, metric.key)));
    }
  }
  if (run.speculation) {
    out += fmt::format("{:-^50}\n", "Speculative Decoding");
    out += row("Acceptance rate (%):", number("spec_decode_acceptance_rate"));
    out += row("Acceptance length:", number("spec_decode_acceptance_length"));
    out += row("Drafts:", count("spec_decode_num_drafts"));
    out += row("Draft tokens:", count("spec_decode_draft_tokens"));
    out += row("Accepted tokens:", count("spec_decode_accepted_tokens"));
    out += "Per-position acceptance (%):\n";
    const std::vector<double> rates = per_position(*run.speculation);
    for (std::size_t i = 0; i < rates.size(); ++i) out += row(fmt::format("  Position {}:", i), 100 * rates[i]);
  }
  return out + std::string(50, '=') + "\n";
}

}  // namespace outrider
