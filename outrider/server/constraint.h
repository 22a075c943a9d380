#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "outrider/grammar/masks/mask_table.h"
#include "outrider/grammar/masks/token_trie.h"
#include "outrider/server/fields.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// Compiles the output constraints of requests (constraint_fields.h) and caches the most recently used ones, since
// clients repeat them.
class Constraints {
 public:
  // The tokenizer must outlive it.
  explicit Constraints(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // Returns the constraint, or null if the request has none. `reasoning`: the output begins with reasoning. Throws
  // ApiError naming what is unsupported.
  std::shared_ptr<MaskTable> read(const Fields& request, bool chat, bool reasoning);

 private:
  std::shared_ptr<MaskTable> find(const std::string& key);

  const Tokenizer& tokenizer_;
  std::mutex mutex_;
  std::shared_ptr<const TokenTrie> trie_;                                // built on first use
  std::list<std::pair<std::string, std::shared_ptr<MaskTable>>> known_;  // by request fields, most recently used first
};

}  // namespace outrider
