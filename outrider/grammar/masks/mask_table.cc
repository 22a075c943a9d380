#include "outrider/grammar/masks/mask_table.h"

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kFew = 512;
constexpr std::size_t kMaxLocalsBytes = std::size_t{32} << 20;  // of locals_
constexpr std::size_t kMaxMatcherBytes = std::size_t{16} << 20;

}  // namespace

// The cost limit of one mask.
class MaskTable::Budget {
 public:
  Budget(const TokenTrie& trie, std::size_t max_work)
      : trie_(trie), left_(max_work), positions_(trie.max_depth() + 1) {}

  void spend(std::size_t work) {
    if (work > left_) {
      throw Error("the mask takes too long to compute; make the alternatives fewer or more different.");
    }
    left_ -= work;
  }

  // Calls `accept(node, position)` for each node of the subtree [first, end) that is reachable from `from` at depth
  // `depth`.
  template <typename Accept>
  void walk(Matcher& matcher, std::uint32_t first, std::uint32_t end, std::size_t depth, Matcher::Position from,
            const Accept& accept) {
    positions_[depth] = from;
    const auto nodes = trie_.nodes();
    const std::size_t before = matcher.work();
    std::size_t visited = 0;
    for (std::uint32_t i = first; i < end;) {
      if (++visited + matcher.work() - before > left_) break;  // spend() throws
      const TokenTrie::Node& node = nodes[i];
      const Matcher::Position position = matcher.next(positions_[node.depth - std::size_t{1}], node.byte);
      if (position == Matcher::kDead) {
        i = node.end;
        continue;
      }
      positions_[node.depth] = position;
      accept(node, position, i);
      ++i;
    }
    spend(visited + matcher.work() - before);
  }

 private:
  const TokenTrie& trie_;
  std::size_t left_;
  std::vector<Matcher::Position> positions_;  // by depth
};

bool TokenSet::empty() const {
  return std::ranges::all_of(words_, [](std::uint64_t word) { return word == 0; });
}

MaskTable::MaskTable(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                     std::size_t max_work)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), max_work_(max_work), matcher_(grammar_->automaton()) {}

MaskTable::Local MaskTable::make_local(Automaton::State state, Budget& budget) {
  if (matcher_.bytes() > kMaxMatcherBytes) matcher_.forget_all_but({});
  Local local;
  std::vector<TokenId> tokens;
  const auto size = static_cast<std::uint32_t>(trie_->nodes().size());
  budget.walk(matcher_, 0, size, 0, matcher_.position_in(state),
              [&](const TokenTrie::Node& node, Matcher::Position position, std::uint32_t index) {
                for (const TokenId token : trie_->tokens(node)) tokens.push_back(token);
                if (matcher_.complete(position) && node.end > index + 1) local.ends.push_back(index);
              });
  if (tokens.size() <= kFew) {
    local.few = std::move(tokens);
  } else {
    local.many = std::make_unique<TokenSet>(trie_->id_limit());
    for (const TokenId token : tokens) local.many->add(token);
  }
  return local;
}

std::shared_ptr<const MaskTable::Local> MaskTable::local(Automaton::State state, Budget& budget) {
  const std::lock_guard lock(mutex_);
  if (const auto known = locals_.find(state); known != locals_.end()) return known->second;
  auto made = std::make_shared<const Local>(make_local(state, budget));
  if (bytes_ > kMaxLocalsBytes) {
    locals_.clear();
    bytes_ = 0;
  }
  locals_.emplace(state, made);
  bytes_ += sizeof(Local) + (made->few.size() + made->ends.size()) * sizeof(TokenId);
  if (made->many) bytes_ += made->many->words().size() * sizeof(std::uint64_t);
  return made;
}

std::size_t MaskTable::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_ + matcher_.bytes();
}

TokenSet MaskTable::allowed(Matcher& matcher, Matcher::Position position) {
  TokenSet set(std::max(trie_->id_limit(), trie_->eos() + 1));
  Budget budget(*trie_, max_work_);
  const std::size_t stacks = matcher.stack_count(position);
  for (std::size_t i = 0; i < stacks; ++i) {
    const Matcher::Stack stack = matcher.stack(position, i);
    const std::shared_ptr<const Local> rule = local(matcher.top(stack), budget);
    for (const TokenId token : rule->few) set.add(token);
    if (rule->many) set.add_all(*rule->many);
    budget.spend(1 + rule->few.size() + (rule->many ? rule->many->words().size() : 0));
    if (rule->ends.empty() || matcher.outermost(stack)) continue;
    const Matcher::Position after = matcher.after(stack);
    for (const std::uint32_t end : rule->ends) {
      const TokenTrie::Node& node = trie_->nodes()[end];
      budget.walk(matcher, end + 1, node.end, node.depth, after,
                  [&](const TokenTrie::Node& reached, Matcher::Position, std::uint32_t) {
                    for (const TokenId token : trie_->tokens(reached)) set.add(token);
                  });
    }
  }
  if (matcher.complete(position) || set.empty()) set.add(trie_->eos());
  return set;
}

}  // namespace outrider
