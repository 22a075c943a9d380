#include "outrider/grammar/ebnf/ebnf.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "outrider/grammar/automaton/code_points.h"
#include "outrider/grammar/ebnf/ebnf_parser.h"

namespace outrider {
namespace {

class EbnfCompiler {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  EbnfCompiler(const EbnfGrammar& grammar, AutomatonBuilder& builder)
      : grammar_(grammar), builder_(builder), rules_(grammar.rules.size()) {}

  State compile(State from) {
    const State end = builder_.call(from, rule(grammar_.root));
    while (!pending_.empty()) {
      const std::size_t index = pending_.back();
      pending_.pop_back();
      add_rule(index);
    }
    return end;
  }

 private:
  Rule rule(std::size_t index) {
    if (!rules_[index]) {
      rules_[index] = builder_.new_rule(grammar_.rules[index].name);
      pending_.push_back(index);
    }
    return *rules_[index];
  }

  // Direct left recursion is a repetition: `a ::= a "x" | "y"` is "y" "x"*.
  void add_rule(std::size_t index) {
    EbnfGrammar::Alternatives others;
    EbnfGrammar::Alternatives continuations;
    for (const EbnfGrammar::Sequence& sequence : grammar_.rules[index].alternatives) {
      const auto* name = sequence.empty() ? nullptr : std::get_if<EbnfGrammar::RuleName>(&sequence[0].content);
      if (name != nullptr && name->rule == index && sequence[0].min == 1 && sequence[0].max == 1) {
        continuations.emplace_back(sequence.begin() + 1, sequence.end());
      } else {
        others.push_back(sequence);
      }
    }
    State at = add_alternatives(builder_.start(rule(index)), others);
    if (!continuations.empty()) {
      const State again = builder_.new_state();
      builder_.jump(at, again);
      builder_.jump(add_alternatives(again, continuations), again);
      at = again;
    }
    builder_.jump(at, builder_.end(rule(index)));
  }

  // Alternatives that begin with the same items share their states, so that the matcher follows them as one.
  State add_alternatives(State from, const EbnfGrammar::Alternatives& alternatives) {
    const State end = builder_.new_state();
    std::map<std::pair<State, std::string_view>, State> known;
    for (const EbnfGrammar::Sequence& sequence : alternatives) {
      State at = from;
      for (const EbnfGrammar::Item& item : sequence) {
        builder_.spend(8 + item.source.size() / 8);
        const auto [after, added] = known.try_emplace({at, item.source}, 0);
        if (added) after->second = add_item(at, item);
        at = after->second;
      }
      builder_.jump(at, end);
    }
    return end;
  }

  State add_item(State from, const EbnfGrammar::Item& item) {
    State at = from;
    for (std::size_t i = 0; i < item.min; ++i) at = add_once(at, item);
    if (item.min == item.max) return at;
    const State end = builder_.new_state();
    if (item.max == EbnfGrammar::kNoEnd) {
      builder_.jump(at, end);
      builder_.jump(add_once(end, item), end);
      return end;
    }
    for (std::size_t i = item.min; i < item.max; ++i) {
      builder_.jump(at, end);
      at = add_once(at, item);
    }
    builder_.jump(at, end);
    return end;
  }

  State add_once(State from, const EbnfGrammar::Item& item) {
    builder_.spend(8);
    if (const auto* text = std::get_if<std::string>(&item.content)) return builder_.literal(from, *text);
    if (const auto* name = std::get_if<EbnfGrammar::RuleName>(&item.content)) {
      return builder_.call(from, rule(name->rule));
    }
    if (const auto* group = std::get_if<EbnfGrammar::Alternatives>(&item.content))
      return add_alternatives(from, *group);
    const State to = builder_.new_state();
    for (const CodePointRange& range : std::get<std::vector<CodePointRange>>(item.content)) {
      add_code_points(builder_, from, range, to, Spelling::kPlain);
    }
    return to;
  }

  const EbnfGrammar& grammar_;
  AutomatonBuilder& builder_;
  std::vector<std::optional<Rule>> rules_;
  std::vector<std::size_t> pending_;
};

}  // namespace

Automaton::State add_ebnf(AutomatonBuilder& builder, Automaton::State from, std::string_view grammar) {
  const EbnfGrammar parsed = parse_ebnf(grammar);
  return EbnfCompiler(parsed, builder).compile(from);
}

}  // namespace outrider
