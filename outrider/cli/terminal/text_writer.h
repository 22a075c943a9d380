#pragma once

#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/engine/text_stream.h"

namespace outrider {

// Prints an output to standard output as it is generated, up to the first stop string. Text that may be the beginning
// of one is held back. `show_drafts` colours accepted draft tokens.
class TextWriter {
 public:
  TextWriter(const Tokenizer& tokenizer, std::vector<std::string> stop, bool show_drafts);

  // Returns whether to continue. Throws Error, like finish(), if standard output cannot be written.
  bool write(const OutputToken& token);
  void finish();
  const std::string& text() const { return text_; }  // printed so far

 private:
  void print(const std::string& text, bool drafted);

  TextStream stream_;
  bool show_drafts_;
  std::string text_;
};

}  // namespace outrider
