#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The bytes of all tokens of a vocabulary as a trie, its nodes in depth-first order: what follows a node are its
// children's subtrees, up to `end`. Special tokens stand behind kSpecialToken (automaton.h).
class TokenTrie {
 public:
  // Throws Error where the tokenizer has no token that ends a text.
  explicit TokenTrie(const Tokenizer& tokenizer);

  struct Node {
    std::uint32_t end = 0;    // one past the last node of its subtree
    std::uint32_t token = 0;  // first in tokens()
    std::uint16_t tokens = 0;
    std::uint16_t depth = 0;  // bytes up to and with this one
    std::uint8_t byte = 0;
  };
  // Without the root, whose subtree all of them are.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const TokenId> tokens(const Node& node) const {
    return std::span(tokens_).subspan(node.token, node.tokens);
  }
  // Of one token; empty for those that no text can contain.
  std::string_view bytes(TokenId token) const;
  TokenId id_limit() const { return static_cast<TokenId>(bytes_.size()); }
  TokenId eos() const { return eos_; }
  std::size_t max_depth() const { return max_depth_; }

 private:
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  std::vector<std::string> bytes_;  // by token
  TokenId eos_ = 0;
  std::size_t max_depth_ = 0;
};

}  // namespace outrider
