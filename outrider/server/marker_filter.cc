#include "outrider/server/marker_filter.h"

#include <algorithm>
#include <utility>

namespace outrider {
namespace {

constexpr std::size_t kMaxHeld = 512;
constexpr std::string_view kUnmistakable = "<｜";

// The length of the longest end of `text` with which one of `markers` begins.
std::size_t begun(std::string_view text, std::span<const std::string_view> markers) {
  std::size_t longest = 0;
  for (const std::string_view marker : markers) {
    for (std::size_t n = std::min(marker.size() - 1, text.size()); n > longest; --n) {
      if (text.ends_with(marker.substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace

// Once a marker within another is removed, the halves around it are one: all of them are held back.
std::size_t MarkerFilter::held_bytes() const {
  std::string_view rest = held_;
  while (held_.size() - rest.size() < kMaxHeld) {
    const std::size_t length = begun(rest, markers_);
    if (length == 0) break;
    rest.remove_suffix(length);
  }
  return held_.size() - rest.size();
}

std::string MarkerFilter::push(std::string_view text) {
  for (const char c : text) {
    held_ += c;
    const auto ended = std::ranges::find_if(markers_, [&](std::string_view marker) { return held_.ends_with(marker); });
    if (ended != markers_.end()) held_.resize(held_.size() - ended->size());
  }
  const std::size_t certain = held_.size() - held_bytes();
  std::string out = held_.substr(0, certain);
  held_.erase(0, certain);
  return out;
}

std::string MarkerFilter::finish() {
  std::string out;
  while (!held_.empty()) {
    const std::size_t length = std::max<std::size_t>(begun(held_, markers_), 1);
    const std::string end = held_.substr(held_.size() - length);
    held_.erase(held_.size() - length);
    if (!end.starts_with(kUnmistakable)) out.insert(0, end);
  }
  return out;
}

}  // namespace outrider
