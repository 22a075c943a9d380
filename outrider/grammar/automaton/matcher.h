#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// Runs an automaton. The set of stacks reached after some bytes is a Position: a number, the same for equal sets. Steps
// between positions are computed once and cached. Not thread-safe.
//
// A position holds at most some thousand stacks. Functions that return a position throw Error if an ambiguous grammar
// needs more; the matcher is unchanged then.
class Matcher {
 public:
  using Position = std::uint32_t;
  using Stack = std::uint32_t;
  static constexpr Position kDead = 0;  // no text of the grammar begins like this

  explicit Matcher(const Automaton& automaton);

  Position start() { return position_in(automaton_->start()); }
  // In `state`, of any rule, without a caller.
  Position position_in(Automaton::State state);
  // After the rule on top of `stack` has ended.
  Position after(Stack stack);

  Position next(Position position, std::uint8_t byte) {
    const std::size_t entry = position * classes_ + automaton_->class_of(byte);
    const Position known = steps_[entry];
    return known != kUnknown ? known : make_step(position, byte);
  }
  // Whether the text may end here.
  bool complete(Position position) const { return positions_[position].complete; }
  // Whether it may continue.
  bool open(Position position) const { return positions_[position].size != 0; }

  std::size_t stack_count(Position position) const { return positions_[position].size; }
  Stack stack(Position position, std::size_t i) const { return stacks_[positions_[position].first + i]; }
  Automaton::State top(Stack stack) const { return nodes_[stack].state; }
  bool outermost(Stack stack) const { return nodes_[stack].below == kNothing; }

  std::size_t bytes() const;                  // approximate size of positions and steps
  std::size_t work() const { return work_; }  // the cost of computing them, in steps of some nanoseconds
  // Drops all positions except `kept`; returns their new numbers.
  std::vector<Position> forget_all_but(const std::vector<Position>& kept);

 private:
  static constexpr Position kUnknown = 0xFFFFFFFF;
  static constexpr Stack kNothing = 0xFFFFFFFF;

  struct Node {
    Automaton::State state = 0;
    Stack below = kNothing;
  };
  struct Set {
    std::size_t first = 0;  // in stacks_
    std::size_t size = 0;
    bool complete = false;
  };

  Stack push(Automaton::State state, Stack below);
  Position make_step(Position position, std::uint8_t byte);
  Position close();
  Position intern(bool complete);

  const Automaton* automaton_;
  std::size_t classes_;
  std::vector<Node> nodes_;
  std::unordered_map<std::uint64_t, Stack> node_ids_;
  std::vector<Set> positions_;
  std::vector<Stack> stacks_;
  std::vector<Position> steps_;  // [positions, classes]
  std::unordered_multimap<std::uint64_t, Position> position_ids_;
  // Used by close().
  std::vector<Stack> reached_;
  std::vector<Stack> closed_;
  std::vector<std::uint32_t> seen_;  // [nodes] the round that reached it
  std::uint32_t round_ = 0;
  std::size_t work_ = 0;
};

}  // namespace outrider
