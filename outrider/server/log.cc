#include "outrider/server/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "outrider/util/printable.h"

namespace outrider {
namespace {

std::string now() {
  const auto time = std::chrono::system_clock::now();
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(time - whole).count();
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), rest);
}

constexpr std::size_t kMostWaiting = std::size_t{8} << 20;  // bytes

}  // namespace

Log::Log(LogFormat format, int descriptor)
    : format_(format), descriptor_(descriptor), writer_([this](const std::stop_token& stop) { serve(stop); }) {}

Log::~Log() {
  writer_.request_stop();
  writer_.join();
}

std::string Log::line(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields) const {
  std::string line;
  if (format_ == LogFormat::kJson) {
    nlohmann::ordered_json object = {{"time", now()}, {"level", level}, {"message", message}};
    if (fields.is_object()) object.update(fields);
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    line = fmt::format("{} {} {}", now(), level, printable(message, 4096));
    for (const auto& [key, value] : fields.items()) {
      line += fmt::format(" {}={}", key, value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
  }
  return line + '\n';
}

void Log::add(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields) noexcept {
  try {
    std::string text = line(level, message, fields);
    const std::lock_guard lock(mutex_);
    const std::size_t bytes = text.size();
    if (waiting_bytes_ + bytes > kMostWaiting) {
      ++dropped_;
      return;
    }
    waiting_.push_back(std::move(text));
    waiting_bytes_ += bytes;
  } catch (const std::exception&) {
    const std::lock_guard lock(mutex_);
    ++dropped_;
  }
  wake_.notify_one();
}

void Log::serve(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !waiting_.empty() || dropped_ != 0; })) {
    std::string text;
    if (!waiting_.empty()) {
      text = std::move(waiting_.front());
      waiting_.pop_front();
      waiting_bytes_ -= text.size();
    } else {
      const std::uint64_t dropped = std::exchange(dropped_, 0);
      try {
        text = line("WARNING", "Lines of the log were dropped: they were not read in time, or memory lacked.",
                    {{"lines", dropped}});
      } catch (const std::exception&) {
        dropped_ += dropped;
        wake_.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
        if (stop.stop_requested()) return;
        continue;
      }
    }
    lock.unlock();
    const bool written = write(text, stop);
    lock.lock();
    if (!written && stop.stop_requested()) return;
  }
}

// Waits until the file takes more, so that it never blocks. Returns false if that takes too long after a stop, or if
// nobody reads any more.
bool Log::write(std::string_view text, const std::stop_token& stop) const {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> end;
  while (!text.empty()) {
    if (stop.stop_requested()) {
      if (!end) end = Clock::now() + std::chrono::seconds(1);
      if (Clock::now() >= *end) return false;
    }
    pollfd ready = {descriptor_, POLLOUT, 0};
    constexpr int kPoll = 50;  // milliseconds
    if (poll(&ready, 1, kPoll) <= 0) continue;
    if ((ready.revents & (POLLERR | POLLNVAL)) != 0) return false;
    // A pipe that is ready takes this much at once.
    const ssize_t wrote = ::write(descriptor_, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (wrote > 0) text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

}  // namespace outrider
