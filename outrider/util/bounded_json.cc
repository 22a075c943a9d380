#include "outrider/util/bounded_json.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {

nlohmann::json parse_bounded_json(std::string_view text, const std::string& where) {
  constexpr int kMaxDepth = 64;
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kMaxDepth) {
      throw Error(
          fmt::format("{}: JSON nested deeper than {} levels; no configuration looks like that. Restore the file "
                      "from where the checkpoint came from.",
                      where, kMaxDepth));
    }
    if (event == Event::object_start) {
      keys.emplace_back();
    } else if (event == Event::object_end) {
      if (!keys.empty()) keys.pop_back();
    } else if (event == Event::key && !keys.empty()) {
      if (!keys.back().insert(parsed.get<std::string>()).second) {
        throw Error(fmt::format("{}: the key \"{}\" stands twice in one object, so its value is ambiguous. Keep one.",
                                where, parsed.get<std::string>()));
      }
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), callback);
  } catch (const nlohmann::json::exception& e) {
    throw Error(
        fmt::format("{}: not valid JSON ({}). Restore the file from where the checkpoint came from.", where, e.what()));
  }
}

}  // namespace outrider
