#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/regex.h"
#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

// Finds added tokens in a text: the leftmost match, the longest of those, then continues after its end.
class AddedTokenMatcher {
 public:
  struct Pattern {
    std::string text;  // must not be empty
    AddedToken token;
  };
  // Of patterns with equal texts, the first is used.
  explicit AddedTokenMatcher(std::vector<Pattern> patterns);

  // A part of a text: an added token with the white space that its lstrip and rstrip consume, or the text between two.
  struct Part {
    std::string_view text;
    std::optional<TokenId> id;
  };
  // Appends the parts of `text`, which must be well-formed UTF-8. Without `special`, special tokens are plain text.
  void split(std::string_view text, bool special, std::vector<Part>& parts) const;

 private:
  static constexpr std::int32_t kNone = -1;
  struct Node {
    char byte = 0;
    std::int32_t sibling = kNone;
    std::int32_t child = kNone;
    std::int32_t pattern = kNone;  // that ends here
  };
  std::int32_t child(std::int32_t first, char byte) const;
  std::int32_t longest(std::string_view text) const;
  bool is_word(std::string_view code_point) const;

  std::vector<Pattern> patterns_;
  std::vector<Node> nodes_;
  std::array<std::int32_t, 256> roots_{};
  Regex word_;
};

}  // namespace outrider
