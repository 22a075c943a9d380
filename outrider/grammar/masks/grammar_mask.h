#pragma once

#include <memory>

#include "outrider/decoding/token_mask.h"
#include "outrider/grammar/grammar.h"
#include "outrider/grammar/masks/mask_table.h"
#include "outrider/grammar/masks/token_trie.h"

namespace outrider {

// Constrains a sequence to a grammar, from its first token to its end token. Sequences that share a table share its
// cache.
std::unique_ptr<TokenMask> make_mask(std::shared_ptr<MaskTable> table);
std::unique_ptr<TokenMask> make_mask(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

}  // namespace outrider
