#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace outrider {

enum class ProgressUnit { kBytes, kItems };

// A progress bar on standard error, drawn after a tenth of a second and at most ten times per second: fraction done,
// bytes (in GB) or items, rate and time left. Silent if standard error is not a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label, ProgressUnit unit = ProgressUnit::kBytes);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done, std::uint64_t total);
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  ProgressUnit unit_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  bool terminal_;
  bool drawn_ = false;
};

}  // namespace outrider
