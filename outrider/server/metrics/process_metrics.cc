#include "outrider/server/metrics/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

namespace outrider {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily single(const char* name, const char* help, MetricType type, double value) {
  ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {metric}};
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// Unix time of this process's start: proc(5), /proc/PID/stat, field 22, in clock ticks since boot.
std::optional<double> read_start_time() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  timespec since_boot{};
  if (!(fields >> ticks) || clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0) return {};
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  const double uptime = static_cast<double>(since_boot.tv_sec) + static_cast<double>(since_boot.tv_nsec) * 1e-9;
  return now - uptime + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

std::vector<MetricFamily> process_metrics() {
  std::vector<MetricFamily> families;
  const auto gauge = [&](const char* name, const char* help, double value) {
    families.push_back(single(name, help, MetricType::Gauge, value));
  };
  double virtual_pages = 0;
  double resident_pages = 0;
  if (std::ifstream("/proc/self/statm") >> virtual_pages >> resident_pages) {
    const auto page = static_cast<double>(sysconf(_SC_PAGE_SIZE));
    gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual_pages * page);
    gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident_pages * page);
  }
  static const std::optional<double> start_time = read_start_time();
  if (start_time) {
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", *start_time);
  }
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) == 0) {
    families.push_back(single("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
                              MetricType::Counter, seconds_of(used.ru_utime) + seconds_of(used.ru_stime)));
  }
  // std::filesystem's iterator ends the process if memory runs out.
  if (DIR* const open = opendir("/proc/self/fd"); open != nullptr) {
    int count = -3;  // without ".", ".." and the descriptor that reads the directory
    while (readdir(open) != nullptr) ++count;
    closedir(open);
    gauge("process_open_fds", "Number of open file descriptors.", count);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    gauge("process_max_fds", "Maximum number of open file descriptors.", static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace outrider
