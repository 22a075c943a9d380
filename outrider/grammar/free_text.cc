#include "outrider/grammar/free_text.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "outrider/grammar/automaton/code_points.h"
#include "outrider/prompt/markup.h"
#include "outrider/tokenizer/utf8.h"

namespace outrider {
namespace {

using State = Automaton::State;

constexpr std::array<std::string_view, 2> kSpecialNames = {markup::kThinkEnd, markup::kDsml};

std::u32string code_points(std::string_view text) {
  std::u32string points;
  for (std::size_t at = 0; at < text.size();) points.push_back(next_code_point(text, at));
  return points;
}

State add_special_token(AutomatonBuilder& builder, State from, std::string_view name) {
  const State named = builder.new_state();
  builder.edge(from, kSpecialToken, kSpecialToken, named);
  return builder.literal(named, name);
}

}  // namespace

State add_markup(AutomatonBuilder& builder, State from, std::string_view text) {
  while (!text.empty()) {
    std::size_t at = text.size();
    std::string_view name;
    for (const std::string_view each : kSpecialNames) {
      if (const std::size_t found = text.find(each); found < at) {
        at = found;
        name = each;
      }
    }
    from = builder.literal(from, text.substr(0, at));
    if (!name.empty()) {
      const State after = builder.literal(from, name);
      builder.jump(add_special_token(builder, from, name), after);
      from = after;
    }
    text.remove_prefix(at + name.size());
  }
  return from;
}

// The Aho-Corasick automaton of the mark and the forbidden words, over code points.
State add_text_until(AutomatonBuilder& builder, State from, std::string_view mark,
                     const std::vector<std::string_view>& forbidden) {
  std::vector<std::u32string> words = {code_points(mark)};
  for (const std::string_view each : forbidden) words.push_back(code_points(each));
  // States are prefixes of words.
  std::map<std::u32string, State> states;
  for (const std::u32string& word : words) {
    for (std::size_t n = 0; n < word.size(); ++n) states.try_emplace(word.substr(0, n), 0);
  }
  for (auto& [beginning, state] : states) state = builder.new_state();
  const State end = builder.new_state();
  builder.jump(from, states.at(U""));
  std::vector<CodePointRange> ordinary;
  std::u32string notable;
  for (const std::u32string& word : words) notable += word;
  std::ranges::sort(notable);
  notable.erase(std::unique(notable.begin(), notable.end()), notable.end());
  for (const char32_t c : notable) ordinary.push_back({c, c});
  ordinary = complement(ordinary);
  for (const auto& [beginning, state] : states) {
    for (const CodePointRange& range : ordinary) {
      add_code_points(builder, state, range, states.at(U""), Spelling::kPlain);
    }
    for (const char32_t c : notable) {
      const std::u32string text = beginning + c;
      if (text.ends_with(words[0])) {
        add_code_points(builder, state, {c, c}, end, Spelling::kPlain);
        continue;
      }
      const auto ends = [&](const std::u32string& word) { return text.ends_with(word); };
      if (std::any_of(words.begin() + 1, words.end(), ends)) continue;
      std::size_t cut = 0;
      while (!states.contains(text.substr(cut))) ++cut;
      add_code_points(builder, state, {c, c}, states.at(text.substr(cut)), Spelling::kPlain);
    }
    for (const std::string_view name : kSpecialNames) {
      const std::u32string wide = code_points(name);
      if (words[0].ends_with(wide) && beginning.ends_with(words[0].substr(0, words[0].size() - wide.size()))) {
        builder.jump(add_special_token(builder, state, name), end);
      }
    }
  }
  return end;
}

}  // namespace outrider
