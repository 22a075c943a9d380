#include <cstdint>
#include <string>
#include <string_view>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/testing/fuzz_target.h"

using outrider::Matcher;
using outrider::testing::require;

// Any grammar in EBNF either fails with an Error or yields one in which every prefix of a text can be completed. The
// text follows the first byte 0; bytes that do not continue it are replaced by the next that do.
FUZZ_TARGET(ebnf) {
  const auto [source, text] = outrider::testing::split_at_zero(input, "aAbB01 (\"");
  const auto grammar = outrider::Grammar::from_ebnf(std::string(source));
  Matcher matcher(grammar.automaton());
  Matcher::Position position = matcher.start();
  require(position != Matcher::kDead);  // the empty language
  for (const char given : text.substr(0, 1024)) {
    const auto byte = static_cast<std::uint8_t>(given);
    Matcher::Position next = matcher.next(position, byte);
    for (unsigned i = 1; i < 256 && next == Matcher::kDead; ++i) {
      next = matcher.next(position, static_cast<std::uint8_t>(byte + i));
    }
    if (next == Matcher::kDead) {
      require(matcher.complete(position) && !matcher.open(position));
      break;
    }
    position = next;
  }
}
