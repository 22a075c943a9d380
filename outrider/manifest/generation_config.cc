#include "outrider/manifest/generation_config.h"

#include <fmt/format.h>

#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {

std::vector<std::uint32_t> eos_token_ids(std::string_view json, std::string_view where) {
  const nlohmann::json config = parse_bounded_json(json, std::string(where), kRestoreTheFile);
  if (!config.is_object()) throw Error(fmt::format("{}: not a JSON object.", where));
  const auto field = config.find("eos_token_id");
  std::vector<std::uint32_t> ids;
  if (field == config.end() || field->is_null()) return ids;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > 0xffffffffU) {
      throw Error(fmt::format("{}: eos_token_id has {}, which is not a token id.", where, id.dump()));
    }
    ids.push_back(id.get<std::uint32_t>());
  };
  if (field->is_array()) {
    for (const nlohmann::json& id : *field) add(id);
  } else {
    add(*field);
  }
  return ids;
}

}  // namespace outrider
