#include "outrider/server/generation_request.h"

namespace outrider {

std::unique_ptr<TokenMask> read_constraint(const Fields& fields) {
  if (const auto format = fields.object("response_format")) {
    if (format->text("type").value_or("") != "text") {
      format->refuse("type", "must be \"text\": this server does not constrain what is written.");
    }
  }
  if (const nlohmann::ordered_json* choice = fields.find("tool_choice")) {
    if (*choice != "auto" && *choice != "none") {
      fields.refuse("tool_choice", "must be \"auto\" or \"none\": this server does not constrain what is written.");
    }
  }
  return nullptr;
}

}  // namespace outrider
