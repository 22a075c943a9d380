#pragma once

#include <cstddef>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// A compiled regular expression. Thread-safe.
class Regex {
 public:
  // Compiles Oniguruma's syntax (oniguruma_syntax.h). Throws Error if it is invalid, unsupported or larger than 64 KiB.
  // `pattern` must be well-formed UTF-8.
  static Regex oniguruma(std::string_view pattern);
  // Matches the text literally.
  static Regex literal(std::string_view text);

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;  // one past the last byte
  };
  // Appends the matches in `text`, which must be well-formed UTF-8, from left to right without overlap; no empty match
  // directly after another match. Throws Error if matching takes too many steps, so that a hostile expression cannot
  // stall. Ends early once stop is requested.
  void find_all(std::string_view text, std::vector<Match>& matches, const std::stop_token& unwanted = {}) const;

 private:
  struct Code;
  explicit Regex(const std::string& pcre2_pattern, std::string_view shown);

  std::shared_ptr<const Code> code_;
};

}  // namespace outrider
