#include "outrider/engine/text_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace outrider {

TextStream::TextStream(const Tokenizer& tokenizer, TextStreamOptions options)
    : tokenizer_(tokenizer), decoder_(tokenizer, false), options_(std::move(options)) {}

std::string TextStream::push(TokenId token) {
  if (stopped_by_) return {};
  const bool skipped = options_.skip_special_tokens && tokenizer_.is_special(token) &&
                       std::ranges::find(options_.kept_special_tokens, token) == options_.kept_special_tokens.end();
  if (skipped) return {};
  held_ += decoder_.push(token);
  std::size_t first = std::string::npos;
  std::size_t keep = 0;
  for (const std::string& stop : options_.stop) {
    if (const std::size_t at = held_.find(stop); at < first) {
      first = at;
      stopped_by_ = stop;
    }
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  if (!stopped_by_) return take(held_.size() - keep);
  std::string text = take(first + (options_.include_stop ? stopped_by_->size() : 0));
  held_.clear();
  return text;
}

std::string TextStream::finish() {
  if (stopped_by_) return {};
  held_ += decoder_.flush();
  return take(held_.size());
}

std::string TextStream::take(std::size_t bytes) {
  std::string text = held_.substr(0, bytes);
  held_.erase(0, bytes);
  return text;
}

}  // namespace outrider
