#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace outrider {

// One line on standard error, drawn from a tenth of a second on, and at most ten times a second: share done, bytes,
// GB/s and time left. Silent where standard error is no terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(std::uint64_t done_bytes, std::uint64_t total_bytes);
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  bool terminal_;
  bool drawn_ = false;
};

}  // namespace outrider
