#include "outrider/cli/terminal/write_json.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "outrider/util/error.h"

namespace outrider {

void write_json(const std::string& path, const nlohmann::ordered_json& json, bool append) {
  std::ofstream out(path, append ? std::ios::app : std::ios::trunc);
  out << json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  out.close();
  if (!out) throw Error(fmt::format("{}: cannot be written: {}.", path, std::strerror(errno)));
}

}  // namespace outrider
