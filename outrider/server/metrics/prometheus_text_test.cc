#include "outrider/server/metrics/prometheus_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace outrider {
namespace {

using prometheus::ClientMetric;

TEST(PrometheusText, NumbersAreSpelledAsInPython) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(prometheus_number(0), "0.0");
  EXPECT_EQ(prometheus_number(1), "1.0");
  EXPECT_EQ(prometheus_number(0.075), "0.075");
  EXPECT_EQ(prometheus_number(7680), "7680.0");
  EXPECT_EQ(prometheus_number(500000), "500000.0");
  EXPECT_EQ(prometheus_number(1e6), "1e+06");
  EXPECT_EQ(prometheus_number(1234567.5), "1.2345675e+06");
  EXPECT_EQ(prometheus_number(1e-5), "1e-05");
  EXPECT_EQ(prometheus_number(-2.5), "-2.5");
  EXPECT_EQ(prometheus_number(kInfinity), "+Inf");
  EXPECT_EQ(prometheus_number(-kInfinity), "-Inf");
  EXPECT_EQ(prometheus_number(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(PrometheusText, EachTypeHasItsSamples) {
  ClientMetric counter;
  counter.label = {{"b", "quote \" slash \\ line\n"}, {"a", "1"}};
  counter.counter.value = 3;
  ClientMetric histogram;
  histogram.label = {{"model", "m"}};
  histogram.histogram = {3, 4.5, {{1, 1.0}, {3, std::numeric_limits<double>::infinity()}}};
  ClientMetric summary;
  summary.summary = {2, 10, {{0.5, 4}}};
  ClientMetric gauge;
  gauge.gauge.value = 0.5;
  using prometheus::MetricType;
  EXPECT_EQ(prometheus_text({{"c_total", "Help\nof \\ c.", MetricType::Counter, {counter}},
                             {"h", "H.", MetricType::Histogram, {histogram}},
                             {"s", "S.", MetricType::Summary, {summary}},
                             {"g", "G.", MetricType::Gauge, {gauge}}}),
            R"(# HELP c_total Help\nof \\ c.
# TYPE c_total counter
c_total{a="1",b="quote \" slash \\ line\n"} 3.0
# HELP h H.
# TYPE h histogram
h_bucket{le="1.0",model="m"} 1.0
h_bucket{le="+Inf",model="m"} 3.0
h_count{model="m"} 3.0
h_sum{model="m"} 4.5
# HELP s S.
# TYPE s summary
s{quantile="0.5"} 4.0
s_count 2.0
s_sum 10.0
# HELP g G.
# TYPE g gauge
g 0.5
)");
}

}  // namespace
}  // namespace outrider
