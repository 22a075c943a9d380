#include "outrider/hub/cache_record.h"

#include <exception>
#include <nlohmann/json.hpp>

#include "outrider/hub/remote_address.h"
#include "outrider/util/bounded_json.h"

namespace outrider {

std::string cache_record(const CachedFiles& files) {
  nlohmann::json root = {{"files", nlohmann::json::object()}};
  for (const auto& [name, file] : files) {
    root["files"][name] = {{"etag", file.etag}, {"size", file.size}, {"hash", file.hash}};
  }
  return root.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CachedFiles parse_cache_record(std::string_view json) {
  CachedFiles out;
  try {
    const nlohmann::json root = parse_bounded_json(json, "record");
    for (const auto& [name, file] : root.at("files").items()) {
      if (!is_safe_name(name)) continue;
      out[name] = {file.at("etag").get<std::string>(), file.at("size").get<std::uint64_t>(),
                   file.at("hash").get<std::string>()};
    }
  } catch (const std::exception&) {
    out.clear();
  }
  return out;
}

}  // namespace outrider
