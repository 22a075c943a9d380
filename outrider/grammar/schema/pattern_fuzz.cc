#include <cstdint>
#include <string>
#include <string_view>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/schema/pattern.h"
#include "outrider/testing/fuzz_target.h"

// Any regular expression either fails with an Error or yields an automaton that treats a text the same in plain and in
// JSON encoding. The text follows the first byte 0.
FUZZ_TARGET(pattern) {
  const auto [pattern, text] = outrider::testing::split_at_zero(input, "aAzZ09 _-");
  const auto accepts = [&, pattern = pattern](outrider::Spelling spelling, std::string_view bytes) {
    outrider::AutomatonBuilder builder;
    const auto root = builder.new_rule();
    builder.jump(outrider::add_pattern(builder, builder.start(root), pattern, spelling), builder.end(root));
    const outrider::Automaton automaton = std::move(builder).build(root);
    outrider::Matcher matcher(automaton);
    outrider::Matcher::Position position = matcher.start();
    for (const char byte : bytes) position = matcher.next(position, static_cast<std::uint8_t>(byte));
    return matcher.complete(position);
  };
  std::string spelled;
  bool plain = true;
  for (const char c : text.substr(0, 256)) {
    plain = plain && c >= ' ' && c <= '~';
    if (c == '"' || c == '\\') spelled += '\\';
    spelled += c;
  }
  const bool accepted = accepts(outrider::Spelling::kPlain, text.substr(0, 256));
  outrider::testing::require(!plain || accepted == accepts(outrider::Spelling::kJsonString, spelled));
}
