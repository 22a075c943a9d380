#include "outrider/grammar/automaton/code_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/tokenizer/utf8.h"

namespace outrider {
namespace {

using State = Automaton::State;

constexpr CodePointRange kSurrogates = {0xD800, 0xDFFF};

std::string utf8(char32_t code_point) {
  std::string bytes;
  append_code_point(bytes, code_point);
  return bytes;
}

// Adds byte sequences of the same length, with each byte between those of `first` and `last`.
void add_bytes(AutomatonBuilder& builder, State from, std::string_view first, std::string_view last, State to) {
  for (std::size_t i = 0; i < first.size(); ++i) {
    const State next = i + 1 == first.size() ? to : builder.new_state();
    builder.edge(from, static_cast<std::uint8_t>(first[i]), static_cast<std::uint8_t>(last[i]), next);
    from = next;
  }
}

// Splits a range into ranges of equal encoded length whose trailing bytes are unconstrained after a byte that varies.
void add_utf8(AutomatonBuilder& builder, State from, CodePointRange range, State to) {
  if (range.first > range.last) return;
  for (const char32_t end : {char32_t{0x7F}, char32_t{0x7FF}, char32_t{0xFFFF}}) {
    if (range.first <= end && end < range.last) {
      add_utf8(builder, from, {range.first, end}, to);
      add_utf8(builder, from, {end + 1, range.last}, to);
      return;
    }
  }
  if (range.last > 0x7F) {
    for (char32_t low = 0x3F; low < 0x40000; low = (low << 6) | 0x3F) {
      if ((range.first & ~low) == (range.last & ~low)) break;
      if ((range.first & low) != 0) {
        add_utf8(builder, from, {range.first, range.first | low}, to);
        add_utf8(builder, from, {(range.first | low) + 1, range.last}, to);
        return;
      }
      if ((range.last & low) != low) {
        add_utf8(builder, from, {range.first, (range.last & ~low) - 1}, to);
        add_utf8(builder, from, {range.last & ~low, range.last}, to);
        return;
      }
    }
  }
  add_bytes(builder, from, utf8(range.first), utf8(range.last), to);
}

}  // namespace

std::vector<CodePointRange> normalized(std::vector<CodePointRange> ranges) {
  std::ranges::sort(ranges, {}, &CodePointRange::first);
  std::vector<CodePointRange> merged;
  for (const CodePointRange& range : ranges) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  std::vector<CodePointRange> made;
  const auto add = [&](char32_t first, char32_t last) {
    if (first <= last) made.push_back({first, last});
  };
  for (const CodePointRange& range : merged) {
    add(range.first, std::min<char32_t>(range.last, kSurrogates.first - 1));
    add(std::max<char32_t>(range.first, kSurrogates.last + 1), range.last);
  }
  return made;
}

std::vector<CodePointRange> complement(const std::vector<CodePointRange>& ranges) {
  std::vector<CodePointRange> others;
  char32_t next = 0;
  for (const CodePointRange& range : normalized(ranges)) {
    if (range.first > next) others.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint) others.push_back({next, kMaxCodePoint});
  return normalized(std::move(others));
}

void add_code_points(AutomatonBuilder& builder, State from, CodePointRange range, State to, Spelling spelling) {
  if (spelling == Spelling::kPlain) {
    for (const CodePointRange& part : normalized({range})) add_utf8(builder, from, part, to);
    return;
  }
  const auto escaped = [](char32_t c) { return c < 0x20 || c == U'"' || c == U'\\'; };
  char32_t first = range.first;
  for (char32_t c = range.first; c <= std::min<char32_t>(range.last, U'\\'); ++c) {
    if (!escaped(c)) continue;
    if (first < c) add_code_points(builder, from, {first, c - 1}, to, Spelling::kPlain);
    first = c + 1;
    const std::string bytes = spelled(utf8(c), Spelling::kJsonString);
    if (bytes.size() == 2 || range.first == range.last) builder.jump(builder.literal(from, bytes), to);
  }
  if (first <= range.last) add_code_points(builder, from, {first, range.last}, to, Spelling::kPlain);
}

std::string spelled(std::string_view text, Spelling spelling) {
  if (spelling == Spelling::kPlain) return std::string(text);
  const std::string quoted = nlohmann::json(text).dump();
  return quoted.substr(1, quoted.size() - 2);
}

State add_text(AutomatonBuilder& builder, State from, std::string_view text, Spelling spelling) {
  return builder.literal(from, spelled(text, spelling));
}

State add_one_of(AutomatonBuilder& builder, State from, std::vector<std::string> texts) {
  const State end = builder.new_state();
  std::ranges::sort(texts);
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  // Strings with a common prefix share its states.
  std::vector<State> path = {from};
  std::string_view before;
  for (const std::string& text : texts) {
    const auto shared = static_cast<std::size_t>(std::ranges::mismatch(text, before).in1 - text.begin());
    path.resize(shared + 1);
    for (std::size_t i = shared; i < text.size(); ++i) {
      path.push_back(builder.literal(path.back(), std::string_view(text).substr(i, 1)));
    }
    builder.jump(path.back(), end);
    before = text;
  }
  return end;
}

}  // namespace outrider
