#include "outrider/util/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "outrider/util/control_groups.h"

namespace outrider {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::uint64_t value = 0;
  if (std::ifstream(path) >> value) return value;
  return std::nullopt;
}

// `what`: a line of /proc/meminfo, with its colon.
std::uint64_t in_system(std::string_view what) {
  std::ifstream in("/proc/meminfo");
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (in >> key >> kib && std::getline(in, unit)) {
    if (key == what) return kib << 10;
  }
  return kUnlimited;
}

std::uint64_t available_in_groups() {
  std::uint64_t least = kUnlimited;
  for (const std::string& directory : control_groups()) {
    const auto max = number_in(directory + "/memory.max");
    const auto current = number_in(directory + "/memory.current");
    if (!max || !current) continue;
    // Page cache counts as used but can be reclaimed.
    std::ifstream stat(directory + "/memory.stat");
    std::string key;
    std::uint64_t bytes = 0;
    std::uint64_t cache = 0;
    while (stat >> key >> bytes) {
      if (key == "inactive_file" || key == "active_file") cache += bytes;
    }
    least = std::min(least, *max - std::min(*max, *current - std::min(*current, cache)));
  }
  return least;
}

std::uint64_t available_in_limits() {
  std::ifstream in("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t skipped = 0;
  std::uint64_t data = 0;
  if (!(in >> total >> skipped >> skipped >> skipped >> skipped >> data)) return kUnlimited;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::uint64_t least = kUnlimited;
  for (const auto& [which, pages] : {std::pair{RLIMIT_AS, total}, {RLIMIT_DATA, data}}) {
    rlimit limit{};
    if (getrlimit(which, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    const std::uint64_t used = pages * page;
    least = std::min<std::uint64_t>(least, limit.rlim_cur - std::min<std::uint64_t>(limit.rlim_cur, used));
  }
  return least;
}

}  // namespace

std::uint64_t available_memory() {
  return std::min({in_system("MemAvailable:"), available_in_groups(), available_in_limits()});
}

std::uint64_t total_memory() {
  std::uint64_t least = in_system("MemTotal:");
  for (const std::string& directory : control_groups()) {
    least = std::min(least, number_in(directory + "/memory.max").value_or(kUnlimited));
  }
  for (const auto which : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (getrlimit(which, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
      least = std::min<std::uint64_t>(least, limit.rlim_cur);
    }
  }
  return least;
}

}  // namespace outrider
