#include "outrider/server/api_error.h"

#include <nlohmann/json.hpp>

#include "outrider/util/dumped_json.h"

namespace outrider {
namespace {

const char* type_of(unsigned status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

nlohmann::ordered_json or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
}

}  // namespace

std::string error_json(unsigned status, const std::string& message, const std::string& param, const std::string& code) {
  const nlohmann::ordered_json object = {{"message", message},
                                         {"type", type_of(status)},
                                         {"param", or_null(param)},
                                         {"code", code.empty() ? nlohmann::ordered_json(status) : or_null(code)}};
  return dumped_json(nlohmann::ordered_json{{"error", object}});
}

}  // namespace outrider
