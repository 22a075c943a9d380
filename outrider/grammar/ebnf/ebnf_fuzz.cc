#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/util/error.h"

// Any grammar in EBNF either fails with an Error or yields one in which every prefix of a text can be completed. The
// text follows the first byte 0; bytes that do not continue it are replaced by the next that do.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const std::string_view text = zero == std::string_view::npos ? "aAbB01 (\"" : input.substr(zero + 1);
  try {
    const auto grammar = outrider::Grammar::from_ebnf(std::string(input.substr(0, zero)));
    outrider::Matcher matcher(grammar.automaton());
    outrider::Matcher::Position position = matcher.start();
    if (position == outrider::Matcher::kDead) std::abort();  // the empty language
    for (const char given : text.substr(0, 1024)) {
      const auto byte = static_cast<std::uint8_t>(given);
      outrider::Matcher::Position next = matcher.next(position, byte);
      for (unsigned i = 1; i < 256 && next == outrider::Matcher::kDead; ++i) {
        next = matcher.next(position, static_cast<std::uint8_t>(byte + i));
      }
      if (next == outrider::Matcher::kDead) {
        if (!matcher.complete(position) || matcher.open(position)) std::abort();
        break;
      }
      position = next;
    }
  } catch (const outrider::Error&) {
  }
  return 0;
}
