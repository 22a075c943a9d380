#include "outrider/grammar/schema/pattern.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "outrider/grammar/schema/pattern_parser.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxDfaStates = 4'000;  // of the deterministic automaton

using Set = std::vector<std::size_t>;  // states of the NFA, sorted

class Determinizer {
 public:
  Determinizer(const PatternNfa& nfa, AutomatonBuilder& builder)
      : nfa_(nfa), builder_(builder), seen_(nfa.states.size()) {}

  Set close(Set reached) {
    ++round_;
    Set closed;
    while (!reached.empty()) {
      const std::size_t state = reached.back();
      reached.pop_back();
      builder_.spend(1);
      if (seen_[state] == round_) continue;
      seen_[state] = round_;
      closed.push_back(state);
      const Set& jumps = nfa_.states[state].jumps;
      reached.insert(reached.end(), jumps.begin(), jumps.end());
    }
    std::ranges::sort(closed);
    return closed;
  }

  // Splits the outgoing edges into disjoint ranges, each with the states it leads to.
  std::vector<std::pair<CodePointRange, Set>> steps(const Set& set) {
    std::map<char32_t, std::pair<Set, Set>> borders;  // edges that begin, and edges that end just before
    for (const std::size_t state : set) {
      for (const PatternNfa::Edge& edge : nfa_.states[state].edges) {
        borders[edge.range.first].first.push_back(edge.to);
        borders[edge.range.last + 1].second.push_back(edge.to);
        builder_.spend(16);
      }
    }
    std::vector<std::pair<CodePointRange, Set>> made;
    std::multimap<std::size_t, bool> active;
    for (auto border = borders.begin(); border != borders.end(); ++border) {
      for (const std::size_t to : border->second.first) active.emplace(to, true);
      for (const std::size_t to : border->second.second) active.erase(active.find(to));
      if (active.empty()) continue;
      Set targets;
      for (const auto& [to, unused] : active) targets.push_back(to);
      made.push_back({{border->first, std::next(border)->first - 1}, close(std::move(targets))});
    }
    return made;
  }

 private:
  const PatternNfa& nfa_;
  AutomatonBuilder& builder_;
  std::vector<std::size_t> seen_;
  std::size_t round_ = 0;
};

Automaton::State add_deterministic(AutomatonBuilder& builder, Automaton::State from, const PatternNfa& nfa,
                                   Spelling spelling, char32_t excluded) {
  builder.spend(4 * nfa.steps);
  Determinizer determinizer(nfa, builder);
  std::map<Set, Automaton::State> states;
  std::vector<Set> found;
  const Automaton::State end = builder.new_state();
  const auto state_of = [&](const Set& set) {
    const auto [known, added] = states.try_emplace(set, 0);
    if (added) {
      if (states.size() > kMaxDfaStates) throw Error("the regular expression has too many states; make it simpler.");
      known->second = builder.new_state();
      found.push_back(set);
      if (std::ranges::binary_search(set, nfa.end)) builder.jump(known->second, end);
    }
    return known->second;
  };
  builder.jump(from, state_of(determinizer.close({0})));
  while (!found.empty()) {
    const Set set = std::move(found.back());
    found.pop_back();
    const Automaton::State state = states.at(set);
    for (const auto& [range, next] : determinizer.steps(set)) {
      const Automaton::State to = state_of(next);
      if (excluded != 0 && range.first <= excluded && excluded <= range.last) {
        if (range.first < excluded) add_code_points(builder, state, {range.first, excluded - 1}, to, spelling);
        if (excluded < range.last) add_code_points(builder, state, {excluded + 1, range.last}, to, spelling);
      } else {
        add_code_points(builder, state, range, to, spelling);
      }
    }
  }
  return end;
}

}  // namespace

Automaton::State add_pattern(AutomatonBuilder& builder, Automaton::State from, std::string_view pattern,
                             Spelling spelling, char32_t excluded) {
  return add_deterministic(builder, from, parse_pattern(pattern, PatternMatch::kAnywhere), spelling, excluded);
}

Automaton::State add_regex(AutomatonBuilder& builder, Automaton::State from, std::string_view regex) {
  return add_deterministic(builder, from, parse_pattern(regex, PatternMatch::kWhole), Spelling::kPlain, 0);
}

std::string_view format_pattern(std::string_view format) {
#define OUTRIDER_DATE                                                                     \
  "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)" \
  "|02-(0[1-9]|1[0-9]|2[0-8]))"
#define OUTRIDER_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kFormats = {{
      {"date", "^" OUTRIDER_DATE "$"},
      {"time", "^" OUTRIDER_TIME "$"},
      {"date-time", "^" OUTRIDER_DATE "T" OUTRIDER_TIME "$"},
      {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
      {"ipv4", "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"},
      {"email", "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@([A-Za-z0-9]{1,32}\\.){1,4}[A-Za-z]{2,16}$"},
  }};
#undef OUTRIDER_DATE
#undef OUTRIDER_TIME
  const auto* found = std::ranges::find(kFormats, format, &std::pair<std::string_view, std::string_view>::first);
  return found == kFormats.end() ? std::string_view{} : found->second;
}

}  // namespace outrider
