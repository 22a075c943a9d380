#include "outrider/util/bounded_json.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {

nlohmann::json parse_bounded_json(std::string_view text, const std::string& where, std::string_view advice) {
  constexpr int kMaxDepth = 64;
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > kMaxDepth) {
      throw Error(
          fmt::format("{}: JSON nested deeper than {} levels, which is not valid here.{}", where, kMaxDepth, advice));
    }
    if (event == Event::object_start) {
      keys.emplace_back();
    } else if (event == Event::object_end) {
      if (!keys.empty()) keys.pop_back();
    } else if (event == Event::key && !keys.empty()) {
      if (!keys.back().insert(parsed.get<std::string>()).second) {
        throw Error(fmt::format("{}: the key \"{}\" occurs twice in one object, so its value is ambiguous. Keep one.",
                                where, parsed.get<std::string>()));
      }
    }
    return true;
  };
  if (text.starts_with("version https://git-lfs")) {
    throw Error(fmt::format("{}: a Git LFS pointer, not the file itself. Run `git lfs pull`.", where));
  }
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    throw Error(fmt::format("{}: UTF-16 text, but JSON must be UTF-8. Save it as UTF-8.", where));
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end(), callback);
  } catch (const nlohmann::json::exception& e) {
    throw Error(fmt::format("{}: not valid JSON ({}).{}", where, printable(e.what(), 400), advice));
  }
}

}  // namespace outrider
