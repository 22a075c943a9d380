#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/testing/fuzz_target.h"
#include "outrider/tokenizer/regex.h"
#include "outrider/tokenizer/utf8.h"

using outrider::Regex;
using outrider::testing::require;

namespace {

std::string well_formed(std::string_view bytes) {
  std::string out;
  outrider::append_utf8_lossy(out, bytes);
  return out;
}

// From left to right, without overlap, of whole code points.
void require_order(const std::vector<Regex::Match>& matches, std::string_view text) {
  const auto within = [&](std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  std::size_t from = 0;
  for (const Regex::Match& match : matches) {
    require(match.begin >= from && match.begin <= match.end && match.end <= text.size());
    require(!within(match.begin) && !within(match.end));
    from = match.end;
  }
}

}  // namespace

// Any pattern either fails with an Error or finds matches in order; a literal finds itself.
FUZZ_TARGET(regex) {
  const auto [first, second] = outrider::testing::split_at_zero(input, "aAzZ09 _-\n\xc3\x9f\xe4\xb8\xad");
  const std::string pattern = well_formed(first.substr(0, 256));
  const std::string text = well_formed(second.substr(0, 48));
  if (!pattern.empty()) {
    std::vector<Regex::Match> found;
    Regex::literal(pattern).find_all("x" + pattern, found);
    require(!found.empty() && found[0].end - found[0].begin == pattern.size());
  }
  std::vector<Regex::Match> matches;
  Regex::oniguruma(pattern).find_all(text, matches);
  require_order(matches, text);
}
