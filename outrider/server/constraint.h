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

// What requests allow to be written: response_format, and tool_choice other than "auto" and "none". Those that were
// asked for lately are kept, for clients ask for the same again and again.
class Constraints {
 public:
  // The tokenizer must outlive it.
  explicit Constraints(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // Null where the request asks for nothing of the kind. `reasoning`: the answer begins with it. Throws ApiError with
  // the keyword of a schema that is not supported.
  std::shared_ptr<MaskTable> read(const Fields& request, bool chat, bool reasoning);

 private:
  std::shared_ptr<MaskTable> find(const std::string& key);

  const Tokenizer& tokenizer_;
  std::mutex mutex_;
  std::shared_ptr<const TokenTrie> trie_;                                // once it is needed
  std::list<std::pair<std::string, std::shared_ptr<MaskTable>>> known_;  // by what was asked for, the latest first
};

}  // namespace outrider
