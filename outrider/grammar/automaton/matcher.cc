#include "outrider/grammar/automaton/matcher.h"

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxStacks = 4096;
constexpr std::size_t kMaxReached = 16 * kMaxStacks;  // including those with only jumps
// An entry of a hash table: a list node and its share of the buckets.
constexpr std::size_t kHashEntry = 48;

[[noreturn]] void refuse_ambiguity() {
  throw Error("the grammar is too ambiguous; make the alternatives fewer or more different.");
}

}  // namespace

std::size_t Matcher::bytes() const {
  return nodes_.size() * (sizeof(Node) + sizeof(std::uint32_t) + kHashEntry) + stacks_.size() * sizeof(Stack) +
         positions_.size() * (sizeof(Set) + kHashEntry + classes_ * sizeof(Position));
}

Matcher::Matcher(const Automaton& automaton) : automaton_(&automaton), classes_(automaton.classes()) {
  closed_.clear();
  intern(false);  // kDead
}

Matcher::Stack Matcher::push(Automaton::State state, Stack below) {
  const std::uint64_t key = (std::uint64_t{below} << 32) | state;
  if (const auto known = node_ids_.find(key); known != node_ids_.end()) return known->second;
  // Its number is known once all of it is stored: memory may lack for any of it.
  nodes_.push_back({state, below});
  seen_.resize(nodes_.size());
  return node_ids_.emplace(key, static_cast<Stack>(nodes_.size() - 1)).first->second;
}

Matcher::Position Matcher::position_in(Automaton::State state) {
  reached_ = {push(state, kNothing)};
  return close();
}

Matcher::Position Matcher::after(Stack stack) {
  reached_ = {nodes_[stack].below};
  return close();
}

Matcher::Position Matcher::make_step(Position position, std::uint8_t byte) {
  reached_.clear();
  for (std::size_t i = 0; i < positions_[position].size; ++i) {
    const Node node = nodes_[stack(position, i)];
    for (const Automaton::Edge& edge : automaton_->edges(node.state)) {
      if (edge.first <= byte && byte <= edge.last) reached_.push_back(push(edge.to, node.below));
    }
    if (reached_.size() > kMaxReached) refuse_ambiguity();
  }
  const Position made = close();
  steps_[position * classes_ + automaton_->class_of(byte)] = made;
  return made;
}

// The position of the stacks in reached_ and all that follow from them without input.
Matcher::Position Matcher::close() {
  ++round_;
  closed_.clear();
  bool complete = false;
  const auto reach = [&](Stack stack) {
    if (stack == kNothing) {
      complete = true;
      return;
    }
    if (seen_[stack] == round_) return;
    seen_[stack] = round_;
    reached_.push_back(stack);
  };
  std::vector<Stack> begun = std::exchange(reached_, {});
  for (const Stack stack : begun) reach(stack);
  std::size_t next = 0;
  while (next < reached_.size()) {
    if (reached_.size() > kMaxReached || closed_.size() == kMaxStacks) refuse_ambiguity();
    const Stack stack = reached_[next++];
    const Node node = nodes_[stack];
    if (!automaton_->edges(node.state).empty()) closed_.push_back(stack);
    for (const Automaton::State to : automaton_->jumps(node.state)) reach(push(to, node.below));
    for (const Automaton::Call& call : automaton_->calls(node.state)) {
      reach(push(call.start, call.back == Automaton::kWithCaller ? node.below : push(call.back, node.below)));
    }
    if (automaton_->ends_rule(node.state)) reach(node.below);
  }
  work_ += 8 * reached_.size();
  std::ranges::sort(closed_);
  return intern(complete);
}

Matcher::Position Matcher::intern(bool complete) {
  std::uint64_t hash = complete ? 1 : 0;
  for (const Stack stack : closed_) hash = (hash ^ stack) * 0x9E3779B97F4A7C15 + (hash >> 29);
  const auto [begin, end] = position_ids_.equal_range(hash);
  for (auto known = begin; known != end; ++known) {
    const Set& set = positions_[known->second];
    if (set.complete != complete || set.size != closed_.size()) continue;
    if (std::equal(closed_.begin(), closed_.end(), stacks_.begin() + static_cast<std::ptrdiff_t>(set.first))) {
      return known->second;
    }
  }
  const auto made = static_cast<Position>(positions_.size());
  if (positions_.size() == positions_.capacity()) positions_.reserve(2 * positions_.size() + 8);
  const std::size_t first = stacks_.size();
  stacks_.insert(stacks_.end(), closed_.begin(), closed_.end());
  steps_.resize((made + std::size_t{1}) * classes_, closed_.empty() ? kDead : kUnknown);
  positions_.push_back(
      {first, closed_.size(), complete});  // last, so that nothing of it is missing without enough memory
  position_ids_.emplace(hash, made);
  return made;
}

std::vector<Matcher::Position> Matcher::forget_all_but(const std::vector<Position>& kept) {
  Matcher fresh(*automaton_);
  fresh.work_ = work_;
  std::unordered_map<Stack, Stack> moved = {{kNothing, kNothing}};
  const auto move = [&](Stack stack) {
    std::vector<Stack> chain;
    for (; !moved.contains(stack); stack = nodes_[stack].below) chain.push_back(stack);
    Stack below = moved.at(stack);
    for (auto each = chain.rbegin(); each != chain.rend(); ++each) {
      below = fresh.push(nodes_[*each].state, below);
      moved.emplace(*each, below);
    }
    return below;
  };
  std::vector<Position> positions;
  for (const Position position : kept) {
    std::vector<Stack> stacks;
    for (std::size_t i = 0; i < stack_count(position); ++i) stacks.push_back(move(stack(position, i)));
    std::ranges::sort(stacks);
    fresh.closed_ = std::move(stacks);
    positions.push_back(fresh.intern(complete(position)));
  }
  *this = std::move(fresh);
  return positions;
}

}  // namespace outrider
