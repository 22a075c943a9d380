#include <algorithm>
#include <string_view>

#include "outrider/check/module_pattern.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

namespace {

// What * and ? mean, by trying everything.
bool matches_slowly(std::string_view glob, std::string_view text) {
  if (glob.empty()) return text.empty();
  if (glob[0] == '*') {
    return matches_slowly(glob.substr(1), text) || (!text.empty() && matches_slowly(glob, text.substr(1)));
  }
  return !text.empty() && (glob[0] == '?' || glob[0] == text[0]) && matches_slowly(glob.substr(1), text.substr(1));
}

}  // namespace

// Any glob can be compared with any text; one without sets matches as trying everything does.
FUZZ_TARGET(glob) {
  const auto [glob, text] = outrider::testing::split_at_zero(input, "layers.3.attn");
  const bool matches = outrider::glob_matches(glob, text);
  if (std::ranges::count(glob, '*') > 4 || glob.size() > 32 || text.size() > 32) return;
  if (glob.find('[') == std::string_view::npos) require(matches == matches_slowly(glob, text));
}
