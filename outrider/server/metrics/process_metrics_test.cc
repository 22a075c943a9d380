#include "outrider/server/metrics/process_metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <string>

namespace outrider {
namespace {

std::map<std::string, double> process_values() {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : process_metrics()) {
    const prometheus::ClientMetric& metric = family.metric.at(0);
    values[family.name] = family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  return values;
}

TEST(ProcessMetrics, TellWhatTheSystemTells) {
  const std::map<std::string, double> before = process_values();
  const int descriptor = ::open("/dev/null", O_RDONLY);
  std::map<std::string, double> after = process_values();
  ::close(descriptor);
  EXPECT_EQ(after.size(), 6U);
  EXPECT_EQ(after.at("process_open_fds"), before.at("process_open_fds") + 1);
  EXPECT_GE(after.at("process_max_fds"), after.at("process_open_fds"));
  EXPECT_GT(after.at("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(after.at("process_virtual_memory_bytes"), after.at("process_resident_memory_bytes"));
  EXPECT_GT(after.at("process_cpu_seconds_total"), 0);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_LE(after.at("process_start_time_seconds"), now + 1);
  EXPECT_GT(after.at("process_start_time_seconds"), now - 86400);
}

}  // namespace
}  // namespace outrider
