#include "outrider/server/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <string>

#include "outrider/util/printable.h"

namespace outrider {
namespace {

std::string now() {
  const auto time = std::chrono::system_clock::now();
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(time - whole).count();
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), rest);
}

}  // namespace

void Log::write(std::string_view level, std::string_view message, const nlohmann::ordered_json& fields) {
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
  line += '\n';
  const std::lock_guard lock(mutex_);
  std::fwrite(line.data(), 1, line.size(), to_);
  std::fflush(to_);
}

}  // namespace outrider
