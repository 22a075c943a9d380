#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace outrider {

// A cursor over the JSON that writers of headers and indexes really produce: ASCII, no escapes, numbers that are whole.
// Every step is a strict subset of JSON and fails on anything else, upon which the caller starts over with a full
// parser. It exists for speed: headers of a large checkpoint are 10 MB of such text.
class PlainJson {
 public:
  explicit PlainJson(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // ASCII without backslashes; control characters only where `whitespace` admits tab, line feed and carriage return.
  static bool applies_to(std::string_view text, bool whitespace) {
    // Bytes throughout, without a branch, so that compilers make vectors of it.
    std::uint8_t bad = 0;
    const std::uint8_t space = whitespace ? 1 : 0;
    for (const char c : text) {
      const auto b = static_cast<std::uint8_t>(c);
      const auto admitted = static_cast<std::uint8_t>((b == '\n') | (b == '\t') | (b == '\r'));
      const auto control = static_cast<std::uint8_t>(b < 0x20);
      bad = static_cast<std::uint8_t>(bad | (control & ~(admitted & space)) | (b >= 0x7f) | (b == '\\'));
    }
    return bad == 0;
  }

  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  bool at_end() const { return at_ == end_; }
  // Space, then `c`.
  bool eat(char c) {
    if (at_ != end_ && *at_ != c) skip_space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  // `text` exactly here.
  bool eat(std::string_view text) {
    if (static_cast<std::size_t>(end_ - at_) < text.size() || std::memcmp(at_, text.data(), text.size()) != 0)
      return false;
    at_ += text.size();
    return true;
  }
  // A string; the view is of the text itself. Raw control characters are refused, as JSON does.
  std::optional<std::string_view> string() {
    if (!eat('"')) return std::nullopt;
    const auto* close = static_cast<const char*>(std::memchr(at_, '"', static_cast<std::size_t>(end_ - at_)));
    if (close == nullptr) return std::nullopt;
    const std::string_view out(at_, static_cast<std::size_t>(close - at_));
    std::uint8_t control = 0;
    for (const char c : out) control = static_cast<std::uint8_t>(control | (static_cast<std::uint8_t>(c) < 0x20));
    if (control != 0) return std::nullopt;
    at_ = close + 1;
    return out;
  }
  // A whole number of at most 18 digits, without leading zeros.
  std::optional<std::uint64_t> number() {
    if (at_ != end_ && *at_ == ' ') skip_space();
    const char* const start = at_;
    std::uint64_t value = 0;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') value = value * 10 + static_cast<std::uint64_t>(*at_++ - '0');
    const auto digits = at_ - start;
    if (digits == 0 || digits > 18 || (digits > 1 && *start == '0')) return std::nullopt;
    return value;
  }

 private:
  const char* at_;
  const char* end_;
};

}  // namespace outrider
