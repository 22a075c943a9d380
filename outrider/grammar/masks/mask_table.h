#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/grammar/masks/token_trie.h"

namespace outrider {

// A set of tokens, a bit each.
class TokenSet {
 public:
  explicit TokenSet(std::size_t tokens) : words_((tokens + 63) / 64) {}

  void add(TokenId token) { words_[token / 64] |= std::uint64_t{1} << (token % 64); }
  void add_all(const TokenSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  bool contains(TokenId token) const {
    return token / 64 < words_.size() && ((words_[token / 64] >> (token % 64)) & 1) != 0;
  }
  bool empty() const;
  const std::vector<std::uint64_t>& words() const { return words_; }

 private:
  std::vector<std::uint64_t> words_;
};

// What a grammar allows of a vocabulary, for any number of texts and threads at once.
//
// Which tokens fit into what is left of one rule, whatever called it, is found once for each state, by a walk over the
// whole trie, and kept. Tokens that go beyond the rule's end are walked on from there for each stack: there are few.
class MaskTable {
 public:
  // `max_work`: of one mask, in nodes of the trie, some nanoseconds each. A vocabulary of 128,000 tokens is gone over
  // some forty times in the usual.
  static constexpr std::size_t kMaxWork = 16'000'000;

  MaskTable(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
            std::size_t max_work = kMaxWork);

  const Automaton& automaton() const { return grammar_->automaton(); }
  const TokenTrie& trie() const { return *trie_; }

  // The tokens that may follow where `matcher`, of this automaton, stands at `position`; the one that ends the text is
  // among them where the text may end, or where no other may follow. Throws Error where finding them takes longer than
  // other texts can be made to wait.
  TokenSet allowed(Matcher& matcher, Matcher::Position position);

  std::size_t bytes() const;  // that it takes, about, without grammar and trie

 private:
  class Budget;

  struct Local {
    std::vector<TokenId> few;         // the tokens, where they are few,
    std::unique_ptr<TokenSet> many;   // else
    std::vector<std::uint32_t> ends;  // nodes of the trie with which the rule may have ended
  };

  std::shared_ptr<const Local> local(Automaton::State state, Budget& budget);
  Local make_local(Automaton::State state, Budget& budget);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::size_t max_work_;
  mutable std::mutex mutex_;
  std::unordered_map<Automaton::State, std::shared_ptr<const Local>> locals_;
  std::size_t bytes_ = 0;  // that locals_ takes, about
  Matcher matcher_;        // of local()
};

}  // namespace outrider
