#include "outrider/grammar/masks/token_trie.h"

#include <algorithm>
#include <limits>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/util/error.h"

namespace outrider {

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : bytes_(tokenizer.id_limit()) {
  if (!tokenizer.eos_id()) {
    throw Error("tokenizer_config.json has no eos_token, which constrained output needs to end.");
  }
  eos_ = *tokenizer.eos_id();
  std::vector<TokenId> order;
  for (TokenId id = 0; id < tokenizer.id_limit(); ++id) {
    std::string_view bytes = tokenizer.bytes(id);
    if (bytes.empty() || id == eos_ || bytes.size() >= std::numeric_limits<std::uint16_t>::max()) continue;
    constexpr char kMark = static_cast<char>(kSpecialToken);
    if (tokenizer.is_special(id)) {
      bytes_[id] = kMark;
    } else if (bytes.find(kMark) != std::string_view::npos) {
      continue;  // never occurs in UTF-8
    }
    bytes_[id] += bytes;
    order.push_back(id);
  }
  std::ranges::sort(order, {}, [&](TokenId id) -> const std::string& { return bytes_[id]; });
  std::vector<std::uint32_t> path;  // the nodes of the previous token
  std::string_view before;
  const auto leave = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
  };
  for (const TokenId id : order) {
    const std::string_view bytes = bytes_[id];
    const auto shared = static_cast<std::size_t>(std::ranges::mismatch(bytes, before).in1 - bytes.begin());
    leave(shared);
    for (std::size_t i = shared; i < bytes.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back({0, 0, 0, static_cast<std::uint16_t>(i + 1), static_cast<std::uint8_t>(bytes[i])});
    }
    Node& node = nodes_[path.back()];
    if (node.tokens == 0) node.token = static_cast<std::uint32_t>(tokens_.size());
    ++node.tokens;
    tokens_.push_back(id);
    max_depth_ = std::max(max_depth_, bytes.size());
    before = bytes;
  }
  leave(0);
}

std::string_view TokenTrie::bytes(TokenId token) const {
  return token < bytes_.size() ? std::string_view(bytes_[token]) : std::string_view{};
}

}  // namespace outrider
