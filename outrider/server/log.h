#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>

namespace outrider {

enum class LogFormat { kText, kJson };

// The server's log, one line per message: "2026-01-31 12:00:00.000 INFO message key=value …", or a JSON object with
// time, level, message and the fields. May be used from any thread. Lines are written by a thread of its own: if the
// reader of the file is slow, lines beyond 8 MiB are dropped and counted in a later one, as are those for which memory
// lacks; if it is gone, all are.
class Log {
 public:
  explicit Log(LogFormat format, int descriptor = 2);
  // Writes the lines that wait, for at most a second.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // `fields`: a JSON object, or null.
  void info(std::string_view message, const nlohmann::ordered_json& fields = {}) { add("INFO", message, fields); }
  void warning(std::string_view message, const nlohmann::ordered_json& fields = {}) { add("WARNING", message, fields); }
  void error(std::string_view message, const nlohmann::ordered_json& fields = {}) { add("ERROR", message, fields); }

 private:
  std::string line(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields) const;
  void add(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields) noexcept;
  void serve(const std::stop_token& stop);
  bool write(std::string_view text, const std::stop_token& stop) const;

  LogFormat format_;
  int descriptor_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::string> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::uint64_t dropped_ = 0;
  std::jthread writer_;
};

}  // namespace outrider
