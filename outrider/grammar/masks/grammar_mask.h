#pragma once

#include <memory>

#include "outrider/decoding/token_mask.h"
#include "outrider/grammar/grammar.h"
#include "outrider/grammar/masks/mask_table.h"
#include "outrider/grammar/masks/token_trie.h"

namespace outrider {

// Lets a text be one of the grammar's, from its first token to the one that ends it. Texts of one grammar share what
// is known of it where they share the table.
std::unique_ptr<TokenMask> make_mask(std::shared_ptr<MaskTable> table);
std::unique_ptr<TokenMask> make_mask(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

}  // namespace outrider
