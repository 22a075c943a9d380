#include "outrider/cli/terminal/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "outrider/cli/terminal/tell.h"

namespace outrider {

ProgressBar::ProgressBar(std::string label, ProgressUnit unit)
    : label_(std::move(label)), unit_(unit), terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  const Clock::time_point now = Clock::now();
  if (!terminal_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now - start_).count());
  const double share = total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const double rate = static_cast<double>(done) / seconds;
  const double left = rate > 0 ? static_cast<double>(total - std::min(done, total)) / rate : 0;
  const auto filled = static_cast<std::size_t>(share * 30);
  const std::string amount = unit_ == ProgressUnit::kBytes
                                 ? fmt::format("{:.1f} of {:.1f} GB  {:.2f} GB/s", static_cast<double>(done) / 1e9,
                                               static_cast<double>(total) / 1e9, rate / 1e9)
                                 : fmt::format("{} of {}  {:.2f}/s", done, total, rate);
  tell("\r{} [{}{}] {:3.0f}%  {}  {:.0f} s left \x1b[K", label_, std::string(filled, '#'),
       std::string(30 - filled, '.'), share * 100, amount, left);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) tell("\r\x1b[K");
  drawn_ = false;
}

}  // namespace outrider
