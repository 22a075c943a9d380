#include "outrider/grammar/automaton/automaton.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

// States, edges, jumps and calls together; enough for a schema of some hundred kilobytes.
constexpr std::size_t kMaxSize = std::size_t{1} << 19;
constexpr std::size_t kMaxSteps = 10'000'000;
constexpr std::size_t kMaxJumpsToEnd = 64;  // that a tail call may have after it

}  // namespace

void AutomatonBuilder::count() {
  if (++size_ > kMaxSize) {
    throw Error("the grammar is too large; make it smaller (long alternatives, counts, lengths).");
  }
}

void AutomatonBuilder::spend(std::size_t steps) {
  spent_ += steps;
  if (spent_ > kMaxSteps) {
    throw Error("the grammar takes too long to compile; make it simpler (patterns, alternatives, allOf, references).");
  }
}

AutomatonBuilder::State AutomatonBuilder::new_state() {
  count();
  states_.emplace_back();
  return static_cast<State>(states_.size() - 1);
}

AutomatonBuilder::Rule AutomatonBuilder::new_rule(std::string_view name) {
  const State start = new_state();
  const State end = new_state();
  rules_.push_back({start, end, std::string(name)});
  return static_cast<Rule>(rules_.size() - 1);
}

void AutomatonBuilder::edge(State from, std::uint8_t first, std::uint8_t last, State to) {
  count();
  states_[from].edges.push_back({first, last, to});
}

void AutomatonBuilder::jump(State from, State to) {
  count();
  states_[from].jumps.push_back(to);
}

AutomatonBuilder::State AutomatonBuilder::call(State from, Rule rule) {
  count();
  const State back = new_state();
  states_[from].calls.emplace_back(rule, back);
  return back;
}

AutomatonBuilder::State AutomatonBuilder::literal(State from, std::string_view bytes) {
  for (const char byte : bytes) {
    const State to = new_state();
    edge(from, static_cast<std::uint8_t>(byte), static_cast<std::uint8_t>(byte), to);
    from = to;
  }
  return from;
}

// The states from which the end of their rule can be reached.
std::vector<bool> AutomatonBuilder::reach_end(bool without_input) const {
  struct Use {
    State from;
    State back;
  };
  std::vector<std::vector<State>> sources(states_.size());      // of edges and jumps, by target
  std::vector<std::vector<Use>> callers(states_.size());        // by start of the rule
  std::vector<std::vector<Use>> continuations(states_.size());  // by the state that a call returns to
  for (State from = 0; from < states_.size(); ++from) {
    if (!without_input) {
      for (const Automaton::Edge& edge : states_[from].edges) sources[edge.to].push_back(from);
    }
    for (const State to : states_[from].jumps) sources[to].push_back(from);
    for (const auto& [rule, back] : states_[from].calls) {
      callers[start(rule)].push_back({from, back});
      continuations[back].push_back({from, start(rule)});
    }
  }
  std::vector<bool> reaching(states_.size());
  std::vector<State> found;
  const auto add = [&](State state) {
    if (reaching[state]) return;
    reaching[state] = true;
    found.push_back(state);
  };
  for (const RuleStates& rule : rules_) add(rule.end);
  while (!found.empty()) {
    const State state = found.back();
    found.pop_back();
    for (const State from : sources[state]) add(from);
    for (const Use& use : callers[state]) {
      if (reaching[use.back]) add(use.from);
    }
    for (const Use& use : continuations[state]) {
      if (reaching[use.back]) add(use.from);
    }
  }
  return reaching;
}

// Left recursion would make the set of stacks infinite.
void AutomatonBuilder::refuse_left_recursion(const std::vector<bool>& productive) const {
  const std::vector<bool> ends_without_input = reach_end(true);
  std::vector<std::vector<Rule>> called(rules_.size());  // before any byte
  std::vector<bool> seen(states_.size());
  for (Rule rule = 0; rule < rules_.size(); ++rule) {
    std::vector<State> reached;
    const auto reach = [&](State state) {
      if (!productive[state] || seen[state]) return;
      seen[state] = true;
      reached.push_back(state);
    };
    reach(start(rule));
    while (!reached.empty()) {
      const State state = reached.back();
      reached.pop_back();
      for (const State to : states_[state].jumps) reach(to);
      for (const auto& [callee, back] : states_[state].calls) {
        if (!productive[start(callee)] || !productive[back]) continue;
        called[rule].push_back(callee);
        if (ends_without_input[start(callee)]) reach(back);
      }
    }
  }
  // Finds a cycle by depth-first search, without recursion.
  enum class Mark : std::uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(rules_.size(), Mark::kNew);
  for (Rule root = 0; root < rules_.size(); ++root) {
    if (marks[root] != Mark::kNew) continue;
    std::vector<std::pair<Rule, std::size_t>> path = {{root, 0}};
    marks[root] = Mark::kOpen;
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      if (next == called[rule].size()) {
        marks[rule] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const Rule callee = called[rule][next++];
      if (marks[callee] == Mark::kOpen) {
        const std::string& name = rules_[callee].name;
        throw Error(
            fmt::format("{} may begin with itself (left recursion), which is not supported; let it begin with "
                        "something else, or write a repetition.",
                        name.empty() ? "a definition" : fmt::format("the rule \"{}\"", printable(name))));
      }
      if (marks[callee] == Mark::kNew) {
        marks[callee] = Mark::kOpen;
        path.emplace_back(callee, 0);
      }
    }
  }
}

// Whether `state`, which can reach its rule's end, leads to nothing else.
bool AutomatonBuilder::only_ends(State state) const {
  for (std::size_t i = 0; i < kMaxJumpsToEnd; ++i) {
    const From& from = states_[state];
    if (!from.edges.empty() || !from.calls.empty()) return false;
    if (from.jumps.empty()) return true;
    if (from.jumps.size() != 1) return false;
    state = from.jumps[0];
  }
  return false;
}

Automaton AutomatonBuilder::build(Rule root) && {
  const std::vector<bool> useful = reach_end(false);
  if (!useful[start(root)]) throw Error("no text of finite length satisfies it.");
  refuse_left_recursion(useful);
  Automaton made;
  made.start_ = start(root);
  std::array<bool, 257> border{};
  for (State state = 0; state < states_.size(); ++state) {
    made.edge_begin_.push_back(static_cast<std::uint32_t>(made.edges_.size()));
    made.jump_begin_.push_back(static_cast<std::uint32_t>(made.jumps_.size()));
    made.call_begin_.push_back(static_cast<std::uint32_t>(made.calls_.size()));
    made.ends_.push_back(0);
    if (!useful[state]) continue;
    for (const Automaton::Edge& edge : states_[state].edges) {
      if (!useful[edge.to]) continue;
      made.edges_.push_back(edge);
      border[edge.first] = true;
      border[edge.last + std::size_t{1}] = true;
    }
    for (const State to : states_[state].jumps) {
      if (useful[to]) made.jumps_.push_back(to);
    }
    for (const auto& [rule, back] : states_[state].calls) {
      if (!useful[start(rule)] || !useful[back]) continue;
      made.calls_.push_back({start(rule), only_ends(back) ? Automaton::kWithCaller : back});
    }
  }
  made.edge_begin_.push_back(static_cast<std::uint32_t>(made.edges_.size()));
  made.jump_begin_.push_back(static_cast<std::uint32_t>(made.jumps_.size()));
  made.call_begin_.push_back(static_cast<std::uint32_t>(made.calls_.size()));
  for (const RuleStates& rule : rules_) made.ends_[rule.end] = 1;
  std::uint8_t current = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (byte != 0 && border[byte]) ++current;
    made.class_of_[byte] = current;
  }
  made.classes_ = current + std::size_t{1};
  return made;
}

}  // namespace outrider
