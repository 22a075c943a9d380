#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/schema/pattern.h"
#include "outrider/util/error.h"

// Any regular expression either fails with an Error or yields an automaton that treats a text the same in plain and in
// JSON encoding, and that finds a match in each text that it matches as a whole. The text follows the first byte 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  const std::string_view pattern = input.substr(0, zero);
  const std::string_view text = zero == std::string_view::npos ? "aAzZ09 _-" : input.substr(zero + 1);
  try {
    const auto accepts = [](std::string_view bytes, const auto& add) {
      outrider::AutomatonBuilder builder;
      const auto root = builder.new_rule();
      builder.jump(add(builder, builder.start(root)), builder.end(root));
      const outrider::Automaton automaton = std::move(builder).build(root);
      outrider::Matcher matcher(automaton);
      outrider::Matcher::Position position = matcher.start();
      for (const char byte : bytes) position = matcher.next(position, static_cast<std::uint8_t>(byte));
      return matcher.complete(position);
    };
    const auto finds = [&](std::string_view bytes, outrider::Spelling spelling) {
      return accepts(bytes,
                     [&](auto& builder, auto from) { return outrider::add_pattern(builder, from, pattern, spelling); });
    };
    std::string spelled;
    bool plain = true;
    for (const char c : text.substr(0, 256)) {
      plain = plain && c >= ' ' && c <= '~';
      if (c == '"' || c == '\\') spelled += '\\';
      spelled += c;
    }
    const bool found = finds(text.substr(0, 256), outrider::Spelling::kPlain);
    if (plain && found != finds(spelled, outrider::Spelling::kJsonString)) std::abort();
    if (found) return 0;
    const auto add_whole = [&](auto& builder, auto from) { return outrider::add_regex(builder, from, pattern); };
    if (accepts(text.substr(0, 256), add_whole)) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
