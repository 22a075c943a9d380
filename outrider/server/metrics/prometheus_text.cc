#include "outrider/server/metrics/prometheus_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace outrider {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricType;
using SampleLabels = std::vector<ClientMetric::Label>;

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return "counter";
    case MetricType::Gauge:
      return "gauge";
    case MetricType::Summary:
      return "summary";
    case MetricType::Histogram:
      return "histogram";
    case MetricType::Untyped:
      return "untyped";
  }
  return "untyped";
}

// Help texts escape \ and line breaks; label values quotes too.
std::string escaped(std::string_view text, bool quotes) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || (quotes && c == '"')) result += '\\';
    result += c;
  }
  return result;
}

void add_sample(std::string& out, const std::string& name, SampleLabels labels, double value) {
  out += name;
  std::ranges::sort(labels, {}, &ClientMetric::Label::name);
  char separator = '{';
  for (const auto& [label, text] : labels) {
    out += separator + label + "=\"" + escaped(text, true) + '"';
    separator = ',';
  }
  out += labels.empty() ? " " : "} ";
  out += prometheus_number(value) + '\n';
}

SampleLabels with(SampleLabels labels, const char* name, double value) {
  labels.push_back({name, prometheus_number(value)});
  return labels;
}

void add_totals(std::string& out, const std::string& name, const SampleLabels& labels, std::uint64_t count,
                double sum) {
  add_sample(out, name + "_count", labels, static_cast<double>(count));
  add_sample(out, name + "_sum", labels, sum);
}

void add_metric(std::string& out, const std::string& name, MetricType type, const ClientMetric& metric) {
  switch (type) {
    case MetricType::Counter:
      return add_sample(out, name, metric.label, metric.counter.value);
    case MetricType::Gauge:
      return add_sample(out, name, metric.label, metric.gauge.value);
    case MetricType::Untyped:
      return add_sample(out, name, metric.label, metric.untyped.value);
    case MetricType::Summary:
      for (const ClientMetric::Quantile& each : metric.summary.quantile) {
        add_sample(out, name, with(metric.label, "quantile", each.quantile), each.value);
      }
      return add_totals(out, name, metric.label, metric.summary.sample_count, metric.summary.sample_sum);
    case MetricType::Histogram:
      for (const ClientMetric::Bucket& each : metric.histogram.bucket) {
        add_sample(out, name + "_bucket", with(metric.label, "le", each.upper_bound),
                   static_cast<double>(each.cumulative_count));
      }
      return add_totals(out, name, metric.label, metric.histogram.sample_count, metric.histogram.sample_sum);
  }
}

}  // namespace

std::string prometheus_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  const double size = std::fabs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e6);
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(digits.data(), end.ptr);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string prometheus_text(const std::vector<prometheus::MetricFamily>& families) {
  std::string out;
  for (const prometheus::MetricFamily& family : families) {
    out += "# HELP " + family.name + ' ' + escaped(family.help, false) + '\n';
    out += "# TYPE " + family.name + ' ';
    out += type_name(family.type);
    out += '\n';
    for (const ClientMetric& metric : family.metric) add_metric(out, family.name, family.type, metric);
  }
  return out;
}

}  // namespace outrider
