#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// A compiled regular expression, safe to use from several threads at once.
class Regex {
 public:
  // With Oniguruma's meaning (oniguruma_syntax.h). Throws Error for an invalid or unsupported one, and for one of more
  // than 64 KiB. `pattern` is well-formed UTF-8.
  static Regex oniguruma(std::string_view pattern);
  // The text itself.
  static Regex literal(std::string_view text);

  struct Match {
    std::size_t begin = 0;
    std::size_t end = 0;  // one past the last byte
  };
  // Appends the matches in `text`, well-formed UTF-8, from left to right without overlap; an empty one does not stand
  // where another ends. Throws Error when a match takes too many steps, so that a hostile expression cannot stall.
  void find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  struct Code;
  explicit Regex(const std::string& pcre2_pattern, std::string_view shown);

  std::shared_ptr<const Code> code_;
};

}  // namespace outrider
