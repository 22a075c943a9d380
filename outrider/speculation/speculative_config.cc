#include "outrider/speculation/speculative_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "outrider/speculation/generation.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {

std::size_t parse_speculative_config(std::string_view json) {
  constexpr std::string_view kWhere = "--speculative-config";
  const nlohmann::json config = parse_bounded_json(json, std::string(kWhere));
  if (!config.is_object()) {
    throw Error(fmt::format(
        R"({}: a JSON object is expected, such as {{"method": "mtp", "num_speculative_tokens": 1}}.)", kWhere));
  }
  for (const auto& [key, value] : config.items()) {
    if (key != "method" && key != "num_speculative_tokens") {
      throw Error(fmt::format("{}: the field \"{}\" is not known; \"method\" and \"num_speculative_tokens\" are.",
                              kWhere, key));
    }
  }
  const nlohmann::json method = config.value("method", nlohmann::json("mtp"));
  if (method != "mtp" && method != "deepseek_mtp") {
    throw Error(fmt::format("{}: the method {} is not known; \"mtp\" is.", kWhere,
                            method.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)));
  }
  const nlohmann::json count = config.value("num_speculative_tokens", nlohmann::json(1U));
  if (!count.is_number_unsigned() || count.get<std::uint64_t>() < 1 ||
      count.get<std::uint64_t>() > kMaxSpeculativeTokens) {
    throw Error(
        fmt::format("{}: num_speculative_tokens must be a whole number from 1 to {}.", kWhere, kMaxSpeculativeTokens));
  }
  return count.get<std::size_t>();
}

}  // namespace outrider
