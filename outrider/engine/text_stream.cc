#include "outrider/engine/text_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "outrider/prompt/markup.h"

namespace outrider {

TextStream::TextStream(const Tokenizer& tokenizer, TextStreamOptions options)
    : tokenizer_(tokenizer), decoder_(tokenizer, false), options_(std::move(options)) {}

std::string TextStream::push(TokenId token) {
  if (stopped_by_) return {};
  ++pushed_;
  const bool kept = std::ranges::find(options_.kept_special_tokens, token) != options_.kept_special_tokens.end();
  if (!kept && options_.skip_special_tokens && tokenizer_.is_special(token)) return {};
  held_ += decoder_.push(token);
  hidden_.resize(held_.size(), 0);
  const std::string_view bytes = tokenizer_.bytes(token);
  if (!kept && options_.hide_markers && markup::is_marker(bytes)) {
    std::fill(hidden_.end() - static_cast<std::ptrdiff_t>(std::min(bytes.size(), hidden_.size())), hidden_.end(), 1);
  }
  if (pushed_ <= options_.min_tokens) settled_ = held_.size();
  std::size_t first = std::string::npos;
  std::size_t keep = 0;
  for (const std::string& stop : options_.stop) {
    const std::size_t from = settled_ < stop.size() ? 0 : settled_ - stop.size() + 1;
    if (const std::size_t at = held_.find(stop, from); at < first) {
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
  hidden_.resize(held_.size(), 0);
  return take(held_.size());
}

std::string TextStream::take(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) {
    if (hidden_[i] == 0) text += held_[i];
  }
  held_.erase(0, bytes);
  hidden_.erase(0, bytes);
  settled_ -= std::min(settled_, bytes);
  return text;
}

}  // namespace outrider
