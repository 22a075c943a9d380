#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The bytes of a vocabulary's tokens as a trie, with nodes in depth-first order: a node is followed by its children's
// subtrees, up to `end`. Special tokens are preceded by kSpecialToken (automaton.h).
class TokenTrie {
 public:
  // Throws Error if the tokenizer has no end-of-sequence token.
  explicit TokenTrie(const Tokenizer& tokenizer);

  struct Node {
    std::uint32_t end = 0;    // one past the last node of its subtree
    std::uint32_t token = 0;  // index of its first token in tokens()
    std::uint16_t tokens = 0;
    std::uint16_t depth = 0;  // number of bytes up to and including this one
    std::uint8_t byte = 0;
  };
  // Without the root.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const TokenId> tokens(const Node& node) const {
    return std::span(tokens_).subspan(node.token, node.tokens);
  }
  // The bytes of a token; empty if no text can contain it.
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
