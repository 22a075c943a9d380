#include "outrider/cli/terminal/text_writer.h"

#include <fmt/format.h>

#include <utility>

#include "outrider/cli/terminal/flush_output.h"

namespace outrider {
namespace {

TextStreamOptions stopping(std::vector<std::string> stop) {
  TextStreamOptions options;
  options.stop = std::move(stop);
  return options;
}

}  // namespace

TextWriter::TextWriter(const Tokenizer& tokenizer, std::vector<std::string> stop, bool show_drafts)
    : stream_(tokenizer, stopping(std::move(stop))), show_drafts_(show_drafts) {}

bool TextWriter::write(const OutputToken& token) {
  print(stream_.push(token.id), token.drafted);
  return !stream_.stopped_by();
}

void TextWriter::finish() {
  print(stream_.finish(), false);
  fmt::print("\n");
  flush_output();
}

void TextWriter::print(const std::string& text, bool drafted) {
  if (text.empty()) return;
  text_ += text;
  const bool coloured = show_drafts_ && drafted;
  fmt::print("{}{}{}", coloured ? "\x1b[32m" : "", text, coloured ? "\x1b[0m" : "");
  flush_output();
}

}  // namespace outrider
