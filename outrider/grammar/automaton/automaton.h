#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// A pushdown automaton over bytes: rules that call each other, each a nondeterministic automaton. It accepts a
// language, such as "JSON that satisfies a schema".
//
// Its input is UTF-8. kSpecialToken, a byte that never occurs in UTF-8, precedes the content of a special token, so
// that ordinary text can never be read as one.
inline constexpr std::uint8_t kSpecialToken = 0xFF;

class Automaton {
 public:
  using State = std::uint32_t;
  using Rule = std::uint32_t;
  struct Edge {
    std::uint8_t first = 0;
    std::uint8_t last = 0;
    State to = 0;
  };
  struct Call {
    State start = 0;  // of the called rule
    State back = 0;   // where to continue after it; kWithCaller: where the caller returns to
  };
  // Marks tail calls. They push nothing on the stack, so that nested alternatives that reach the same rule share a
  // stack.
  static constexpr State kWithCaller = 0xFFFFFFFF;

  State start() const { return start_; }
  std::size_t size() const { return ends_.size(); }  // number of states
  // The number of byte classes; bytes of one class are equivalent in every state.
  std::size_t classes() const { return classes_; }
  std::size_t class_of(std::uint8_t byte) const { return class_of_[byte]; }
  std::span<const Edge> edges(State state) const { return part(edges_, edge_begin_, state); }
  std::span<const State> jumps(State state) const { return part(jumps_, jump_begin_, state); }
  std::span<const Call> calls(State state) const { return part(calls_, call_begin_, state); }
  bool ends_rule(State state) const { return ends_[state] != 0; }

 private:
  friend class AutomatonBuilder;

  template <typename T>
  static std::span<const T> part(const std::vector<T>& all, const std::vector<std::uint32_t>& begin, State state) {
    return std::span(all).subspan(begin[state], begin[state + 1] - begin[state]);
  }

  State start_ = 0;
  std::vector<Edge> edges_;
  std::vector<State> jumps_;
  std::vector<Call> calls_;
  std::vector<std::uint32_t> edge_begin_;  // [states + 1]
  std::vector<std::uint32_t> jump_begin_;
  std::vector<std::uint32_t> call_begin_;
  std::vector<std::uint8_t> ends_;
  std::array<std::uint8_t, 256> class_of_{};
  std::size_t classes_ = 0;
};

// Builds an automaton from front to back: functions that add a piece take the state it begins in and return the state
// it ends in.
class AutomatonBuilder {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  // Throws Error if the automaton becomes too large.
  State new_state();
  // Counts compilation cost, in steps of about ten nanoseconds. Throws Error if it becomes too high.
  void spend(std::size_t steps);
  // `name`: in messages.
  Rule new_rule(std::string_view name = {});
  State start(Rule rule) const { return rules_[rule].start; }
  State end(Rule rule) const { return rules_[rule].end; }

  void edge(State from, std::uint8_t first, std::uint8_t last, State to);
  void jump(State from, State to);
  State call(State from, Rule rule);
  State literal(State from, std::string_view bytes);

  // Builds the automaton with `root` as its start. States that cannot reach an end are removed. Throws Error if the
  // language is empty, or if a rule is left-recursive.
  Automaton build(Rule root) &&;

 private:
  struct RuleStates {
    State start = 0;
    State end = 0;
    std::string name;
  };
  struct From {
    std::vector<Automaton::Edge> edges;
    std::vector<State> jumps;
    std::vector<std::pair<Rule, State>> calls;
  };

  void count();
  std::vector<bool> reach_end(bool without_input) const;
  bool only_ends(State state) const;
  void refuse_left_recursion(const std::vector<bool>& productive) const;

  std::vector<From> states_;
  std::vector<RuleStates> rules_;
  std::size_t size_ = 0;
  std::size_t spent_ = 0;
};

}  // namespace outrider
