#include "outrider/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "outrider/tokenizer/utf8.h"

namespace outrider {
namespace {

std::size_t start_of_last(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<std::uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

// The number of bytes of white space at the end and at the start of a text.
std::size_t blanks_at_end(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t last = start_of_last(text.substr(0, end));
    std::size_t at = last;
    if (!is_white_space(next_code_point(text, at))) break;
    end = last;
  }
  return text.size() - end;
}

std::size_t blanks_at_start(std::string_view text) {
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t at = begin;
    if (!is_white_space(next_code_point(text, at))) break;
    begin = at;
  }
  return begin;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)),
      // \w of the Rust crate `regex`, which `tokenizers` uses to detect single words.
      word_(Regex::oniguruma(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d])")) {
  roots_.fill(kNone);
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    std::int32_t node = kNone;
    for (const char byte : patterns_[i].text) {
      const std::int32_t first =
          node == kNone ? roots_[static_cast<std::uint8_t>(byte)] : nodes_[static_cast<std::size_t>(node)].child;
      std::int32_t found = child(first, byte);
      if (found == kNone) {
        found = static_cast<std::int32_t>(nodes_.size());
        nodes_.push_back({byte, first, kNone, kNone});
        if (node == kNone) {
          roots_[static_cast<std::uint8_t>(byte)] = found;
        } else {
          nodes_[static_cast<std::size_t>(node)].child = found;
        }
      }
      node = found;
    }
    std::int32_t& pattern = nodes_[static_cast<std::size_t>(node)].pattern;
    if (pattern == kNone) pattern = static_cast<std::int32_t>(i);
  }
}

std::int32_t AddedTokenMatcher::child(std::int32_t first, char byte) const {
  for (std::int32_t i = first; i != kNone; i = nodes_[static_cast<std::size_t>(i)].sibling) {
    if (nodes_[static_cast<std::size_t>(i)].byte == byte) return i;
  }
  return kNone;
}

// The longest pattern that is a prefix of `text`.
std::int32_t AddedTokenMatcher::longest(std::string_view text) const {
  std::int32_t found = kNone;
  std::int32_t first = roots_[static_cast<std::uint8_t>(text.front())];
  for (const char byte : text) {
    const std::int32_t node = child(first, byte);
    if (node == kNone) break;
    if (nodes_[static_cast<std::size_t>(node)].pattern != kNone) found = nodes_[static_cast<std::size_t>(node)].pattern;
    first = nodes_[static_cast<std::size_t>(node)].child;
  }
  return found;
}

bool AddedTokenMatcher::is_word(std::string_view code_point) const {
  std::vector<Regex::Match> matches;
  word_.find_all(code_point, matches);
  return !matches.empty();
}

void AddedTokenMatcher::split(std::string_view text, bool special, std::vector<Part>& parts) const {
  std::size_t done = 0;  // end of the parts appended so far
  for (std::size_t at = 0; at < text.size() && !nodes_.empty();) {
    const std::int32_t found = roots_[static_cast<std::uint8_t>(text[at])] == kNone ? kNone : longest(text.substr(at));
    if (found == kNone) {
      ++at;
      continue;
    }
    const Pattern& pattern = patterns_[static_cast<std::size_t>(found)];
    std::size_t begin = at;
    std::size_t end = at + pattern.text.size();
    at = end;
    if (pattern.token.special && !special) continue;
    if (pattern.token.single_word) {
      std::size_t after = end;
      const std::string_view before = text.substr(0, begin);
      if (begin > 0 && is_word(before.substr(start_of_last(before)))) continue;
      if (end < text.size()) {
        next_code_point(text, after);
        if (is_word(text.substr(end, after - end))) continue;
      }
    }
    if (pattern.token.lstrip && begin > done) begin -= blanks_at_end(text.substr(done, begin - done));
    if (pattern.token.rstrip) end += blanks_at_start(text.substr(end));
    if (done < begin) parts.push_back({text.substr(done, begin - done), std::nullopt});
    parts.push_back({text.substr(begin, end - begin), pattern.token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), std::nullopt});
}

}  // namespace outrider
