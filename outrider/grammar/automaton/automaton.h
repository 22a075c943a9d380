#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace outrider {

// A pushdown automaton over bytes: rules that call each other, each of them a nondeterministic automaton. What it
// accepts is a language of texts, such as "JSON that a schema allows".
//
// Bytes are those of a text in UTF-8. kSpecialToken, which UTF-8 has no use for, stands before the content of a special
// token, so that no text can spell one.
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
    State start = 0;  // of the rule that is called
    State back = 0;   // where the text goes on when it has ended; kWithCaller: where it does when the caller has ended
  };
  // Of calls with nothing behind them. They take no place on the stack, so that alternatives of alternatives that come
  // to the same rule come to the same stack.
  static constexpr State kWithCaller = 0xFFFFFFFF;

  State start() const { return start_; }
  std::size_t size() const { return ends_.size(); }  // states
  // Bytes of one class are alike to every state.
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

// Builds an automaton from front to back: what adds a piece of text takes the state that it begins in and gives the one
// that it ends in.
class AutomatonBuilder {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  // Throws Error when the automaton becomes too large to be of use.
  State new_state();
  // Counts what making it costs, in steps of some ten nanoseconds. Throws Error when that becomes too much.
  void spend(std::size_t steps);
  Rule new_rule();
  State start(Rule rule) const { return rules_[rule].start; }
  State end(Rule rule) const { return rules_[rule].end; }

  void edge(State from, std::uint8_t first, std::uint8_t last, State to);
  void jump(State from, State to);
  State call(State from, Rule rule);
  State literal(State from, std::string_view bytes);

  // The texts of `root`. States from which no text ends are left out. Throws Error where no text is left at all, and
  // where a rule calls itself before any byte.
  Automaton build(Rule root) &&;

 private:
  struct RuleStates {
    State start = 0;
    State end = 0;
  };
  struct From {
    std::vector<Automaton::Edge> edges;
    std::vector<State> jumps;
    std::vector<std::pair<Rule, State>> calls;
  };

  void count();
  std::vector<bool> productive() const;
  bool only_ends(State state) const;
  void refuse_left_recursion(const std::vector<bool>& productive) const;

  std::vector<From> states_;
  std::vector<RuleStates> rules_;
  std::size_t size_ = 0;
  std::size_t spent_ = 0;
};

}  // namespace outrider
