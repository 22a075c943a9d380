#pragma once

#include <string>
#include <vector>

#include "outrider/speculation/generation.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// Writes a text to standard output as it comes, up to the first stop string. Text that may be the beginning of one
// waits. `show_drafts` colours what the MTP block drafted.
class TextWriter {
 public:
  TextWriter(const Tokenizer& tokenizer, std::vector<std::string> stop, bool show_drafts)
      : decoder_(tokenizer, true), stop_(std::move(stop)), show_drafts_(show_drafts) {}

  // Whether to go on.
  bool write(const WrittenToken& token);
  void finish();
  const std::string& text() const { return text_; }  // written so far

 private:
  void print(std::size_t bytes, bool drafted);

  StreamDecoder decoder_;
  std::vector<std::string> stop_;
  bool show_drafts_;
  std::string held_;
  std::string text_;
};

}  // namespace outrider
