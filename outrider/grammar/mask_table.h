#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "outrider/grammar/automaton.h"
#include "outrider/grammar/grammar.h"
#include "outrider/grammar/matcher.h"
#include "outrider/grammar/token_trie.h"

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
  MaskTable(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

  const Automaton& automaton() const { return grammar_->automaton(); }
  const TokenTrie& trie() const { return *trie_; }

  // The tokens that may follow where `matcher`, of this automaton, stands at `position`; the one that ends the text is
  // among them where the text may end, or where no other may follow.
  TokenSet allowed(Matcher& matcher, Matcher::Position position);

 private:
  struct Local {
    std::vector<TokenId> few;         // the tokens, where they are few,
    std::unique_ptr<TokenSet> many;   // else
    std::vector<std::uint32_t> ends;  // nodes of the trie with which the rule may have ended
  };

  std::shared_ptr<const Local> local(Automaton::State state);
  Local make_local(Automaton::State state);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::mutex mutex_;
  std::unordered_map<Automaton::State, std::shared_ptr<const Local>> locals_;
  std::size_t bytes_ = 0;  // that locals_ takes, about
  Matcher matcher_;        // of local()
};

}  // namespace outrider
