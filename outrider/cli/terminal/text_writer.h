#pragma once

#include <string>
#include <vector>

#include "outrider/decoding/generation.h"
#include "outrider/engine/text_stream.h"

namespace outrider {

// Writes a text to standard output as it comes, up to the first stop string. Text that may be the beginning of one
// waits. `show_drafts` colours what the MTP block drafted.
class TextWriter {
 public:
  TextWriter(const Tokenizer& tokenizer, std::vector<std::string> stop, bool show_drafts);

  // Whether to go on. Throws Error, as finish() does, where standard output cannot be written.
  bool write(const WrittenToken& token);
  void finish();
  const std::string& text() const { return text_; }  // written so far

 private:
  void print(const std::string& text, bool drafted);

  TextStream stream_;
  bool show_drafts_;
  std::string text_;
};

}  // namespace outrider
