#include <string>
#include <string_view>
#include <utility>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/schema/pattern.h"
#include "outrider/testing/fuzz_target.h"

namespace {

template <typename Add>
bool accepts(std::string_view bytes, const Add& add) {
  outrider::AutomatonBuilder builder;
  const auto root = builder.new_rule();
  builder.jump(add(builder, builder.start(root)), builder.end(root));
  const outrider::Automaton automaton = std::move(builder).build(root);
  outrider::Matcher matcher(automaton);
  outrider::Matcher::Position position = matcher.start();
  for (const char byte : bytes) position = matcher.next(position, static_cast<std::uint8_t>(byte));
  return matcher.complete(position);
}

}  // namespace

// Any regular expression either fails with an Error or yields an automaton that treats a text the same in plain and in
// JSON encoding, and that finds a match in each text that it matches as a whole. The text follows the first byte 0.
FUZZ_TARGET(pattern) {
  const auto [pattern, all] = outrider::testing::split_at_zero(input, "aAzZ09 _-");
  const std::string_view text = all.substr(0, 256);
  const auto finds = [pattern = pattern](std::string_view bytes, outrider::Spelling spelling) {
    return accepts(bytes,
                   [&](auto& builder, auto from) { return outrider::add_pattern(builder, from, pattern, spelling); });
  };
  std::string spelled;
  bool plain = true;
  for (const char c : text) {
    plain = plain && c >= ' ' && c <= '~';
    if (c == '"' || c == '\\') spelled += '\\';
    spelled += c;
  }
  const bool found = finds(text, outrider::Spelling::kPlain);
  outrider::testing::require(!plain || found == finds(spelled, outrider::Spelling::kJsonString));
  if (found) return;
  const auto add_whole = [pattern = pattern](auto& builder, auto from) {
    return outrider::add_regex(builder, from, pattern);
  };
  outrider::testing::require(!accepts(text, add_whole));
}
