#pragma once

#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>

namespace outrider {

enum class LogFormat { kText, kJson };

// The server's log, one line per message: "2026-01-31 12:00:00.000 INFO message key=value …", or a JSON object with
// time, level, message and the fields. May be used from any thread.
class Log {
 public:
  explicit Log(LogFormat format, std::FILE* to = stderr) : format_(format), to_(to) {}

  // `fields`: a JSON object, or null.
  void info(std::string_view message, const nlohmann::ordered_json& fields = {}) { write("INFO", message, fields); }
  void warning(std::string_view message, const nlohmann::ordered_json& fields = {}) {
    write("WARNING", message, fields);
  }
  void error(std::string_view message, const nlohmann::ordered_json& fields = {}) { write("ERROR", message, fields); }

 private:
  void write(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields);

  LogFormat format_;
  std::FILE* to_;
  std::mutex mutex_;
};

}  // namespace outrider
