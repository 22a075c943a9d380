#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

// Byte-pair encoding of one piece of text: repeatedly merges the adjacent pair with the lowest rank, the leftmost of
// equal ones. Linear time for short pieces, O(n log n) for long ones.
class Bpe {
 public:
  // Throws Error, prefixed with `where`, if a merge uses a token that is not in the vocabulary, or if bytes without a
  // token would need an unk_token.
  Bpe(const TokenizerSpec& spec, const std::string& where);

  struct Workspace {
    struct Symbol {
      TokenId id;
      std::uint32_t previous;
      std::uint32_t next;
    };
    struct Candidate {
      std::uint32_t rank;
      std::uint32_t at;  // the left symbol
      TokenId id;        // of the merged pair
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::stop_token unwanted;  // once stop is requested, encode() ends early
  };
  // Appends the token ids of `piece`, which must be smaller than 2^31 bytes. Bytes without a token are dropped, as in
  // `tokenizers`.
  void encode(std::string_view piece, std::vector<TokenId>& ids, Workspace& workspace) const;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  struct Merge {
    std::uint64_t pair = ~std::uint64_t{0};
    std::uint32_t rank = kNone;
    TokenId id = 0;
  };
  const Merge* find(TokenId left, TokenId right) const;
  void insert(TokenId left, TokenId right, std::uint32_t rank, TokenId id);
  std::size_t slot(std::uint64_t pair) const { return (pair * 0x9e3779b97f4a7c15U) >> shift_; }
  void encode_short(std::string_view piece, std::vector<TokenId>& ids) const;
  void encode_long(std::string_view piece, std::vector<TokenId>& ids, Workspace& workspace) const;

  std::array<TokenId, 256> byte_ids_{};
  std::vector<Merge> merges_;  // open addressing; the size is a power of two
  unsigned shift_ = 64;
  std::unordered_map<std::string, TokenId> whole_;  // with ignore_merges: every token, by its bytes
};

}  // namespace outrider
