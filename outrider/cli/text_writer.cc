#include "outrider/cli/text_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace outrider {

bool TextWriter::write(const WrittenToken& token) {
  held_ += decoder_.push(token.id);
  std::size_t keep = 0;
  for (const std::string& s : stop_) {
    if (const std::size_t at = held_.find(s); at != std::string::npos) {
      held_.resize(at);
      print(held_.size(), token.drafted);
      return false;
    }
    for (std::size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(s.substr(0, n))) keep = n;
    }
  }
  print(held_.size() - keep, token.drafted);
  return true;
}

void TextWriter::finish() {
  held_ += decoder_.flush();
  print(held_.size(), false);
  fmt::print("\n");
  std::fflush(stdout);
}

void TextWriter::print(std::size_t bytes, bool drafted) {
  const std::string text = held_.substr(0, bytes);
  held_.erase(0, bytes);
  if (text.empty()) return;
  text_ += text;
  const bool coloured = show_drafts_ && drafted;
  fmt::print("{}{}{}", coloured ? "\x1b[32m" : "", text, coloured ? "\x1b[0m" : "");
  std::fflush(stdout);
}

}  // namespace outrider
