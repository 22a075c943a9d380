#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "outrider/util/same_bytes.h"

namespace outrider {

// A cursor over the JSON that writers of headers and indexes really produce: ASCII, no escapes, numbers that are whole.
// Every step is a strict subset of JSON and fails on anything else, upon which the caller starts over with a full
// parser. It exists for speed: headers and index of a large checkpoint are 13 MB of such text.
class PlainJson {
 public:
  explicit PlainJson(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  // Where the cursor stands, and what follows; move_to() continues elsewhere in the text.
  const char* at() const { return at_; }
  const char* end() const { return end_; }
  void move_to(const char* at) { at_ = at; }
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }

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
    if (static_cast<std::size_t>(end_ - at_) < text.size() || !same_bytes(at_, text.data(), text.size())) return false;
    at_ += text.size();
    return true;
  }
  // A string of printable ASCII without backslashes; the view is of the text itself.
  std::optional<std::string_view> string() {
    if (!eat('"')) return std::nullopt;
    const auto* close = static_cast<const char*>(std::memchr(at_, '"', left()));
    if (close == nullptr) return std::nullopt;
    const std::string_view out(at_, static_cast<std::size_t>(close - at_));
    // Bytes throughout, without a branch, so that compilers make vectors of it.
    std::uint8_t bad = 0;
    for (const char c : out) {
      const auto b = static_cast<std::uint8_t>(c);
      bad = static_cast<std::uint8_t>(bad | (b < 0x20) | (b >= 0x7f) | (b == '\\'));
    }
    if (bad != 0) return std::nullopt;
    at_ = close + 1;
    return out;
  }
  // A whole number of at most 18 digits, without leading zeros. It may not be the last of the text: where that is a
  // piece of a file, more digits may follow.
  std::optional<std::uint64_t> number() {
    if (at_ != end_ && *at_ == ' ') skip_space();
    const char* const start = at_;
    std::uint64_t value = 0;
    for (unsigned digits = 8; digits == 8 && left() >= 8 && at_ - start <= 16;) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, at_, 8);
      digits = leading_digits(eight);
      value = value * kPowers[digits] + number_of(eight, digits);
      at_ += digits;
    }
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') value = value * 10 + static_cast<std::uint64_t>(*at_++ - '0');
    const auto digits = at_ - start;
    if (digits == 0 || digits > 18 || (digits > 1 && *start == '0') || at_ == end_) return std::nullopt;
    return value;
  }

 private:
  static_assert(std::endian::native == std::endian::little);
  static constexpr std::array<std::uint64_t, 9> kPowers = {1,       10,        100,        1'000,      10'000,
                                                           100'000, 1'000'000, 10'000'000, 100'000'000};
  static constexpr std::uint64_t kZeros = 0x3030303030303030;  // "00000000"

  // How many of eight characters are digits, up to the first that is none.
  static unsigned leading_digits(std::uint64_t eight) {
    const std::uint64_t values = eight ^ kZeros;
    // The highest bit of each byte that is over 9; a carry reaches only bytes behind such a one.
    const std::uint64_t others = ((values + 0x7676767676767676) | values) & 0x8080808080808080;
    return others == 0 ? 8 : static_cast<unsigned>(std::countr_zero(others)) / 8;
  }
  // The number that the first `digits` of them are: pairs, then fours, then all eight, in one word.
  static std::uint64_t number_of(std::uint64_t eight, unsigned digits) {
    if (digits == 0) return 0;
    std::uint64_t v = (eight ^ kZeros) << (64 - 8 * digits);
    v = v * 10 + (v >> 8);
    constexpr std::uint64_t kPairs = 0x000000ff000000ff;
    return ((v & kPairs) * (100 + (std::uint64_t{1'000'000} << 32)) +
            (v >> 16 & kPairs) * (1 + (std::uint64_t{10'000} << 32))) >>
           32;
  }

  const char* at_;
  const char* end_;
};

}  // namespace outrider
