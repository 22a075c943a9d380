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

// A set of tokens, as a bitmap.
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

// The masks of a grammar over a vocabulary; shared by any number of sequences and threads.
//
// Tokens that stay within a rule do not depend on its caller: they are found once per state, by a walk over the whole
// trie, and cached. The few tokens that go beyond the rule's end are matched for each stack.
class MaskTable {
 public:
  // `max_work`: the limit for one mask, in nodes of the trie, some nanoseconds each. It allows about forty walks over a
  // vocabulary of 128,000 tokens.
  static constexpr std::size_t kMaxWork = 16'000'000;

  MaskTable(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
            std::size_t max_work = kMaxWork);

  const Automaton& automaton() const { return grammar_->automaton(); }
  const TokenTrie& trie() const { return *trie_; }

  // The tokens allowed at `position` of `matcher`, which must use this automaton; the end token is included if the text
  // may end, or if no other token is allowed. Throws Error if computing them would delay other sequences too long.
  TokenSet allowed(Matcher& matcher, Matcher::Position position);

  std::size_t bytes() const;  // approximate size, without grammar and trie

 private:
  class Budget;

  struct Local {
    std::vector<TokenId> few;         // the tokens, if few
    std::unique_ptr<TokenSet> many;   // the tokens, otherwise
    std::vector<std::uint32_t> ends;  // trie nodes after which the rule may have ended
  };

  std::shared_ptr<const Local> local(Automaton::State state, Budget& budget);
  Local make_local(Automaton::State state, Budget& budget);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::size_t max_work_;
  mutable std::mutex mutex_;
  std::unordered_map<Automaton::State, std::shared_ptr<const Local>> locals_;
  std::size_t bytes_ = 0;  // approximate size of locals_
  Matcher matcher_;        // used by local()
};

}  // namespace outrider
