#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace outrider {

using TokenId = std::uint32_t;

// The pattern of a Split or a Replace.
struct PatternSpec {
  bool regex = false;  // otherwise a literal string
  std::string text;
};

struct NormalizerSpec {
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd, kPrepend, kReplace };
  Kind kind = Kind::kNfc;
  std::string text;  // what Prepend and Replace insert
  PatternSpec pattern;
};

// How a Split treats its matches.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct PreTokenizerSpec {
  enum class Kind { kSplit, kDigits, kByteLevel };
  Kind kind = Kind::kSplit;
  PatternSpec pattern;  // of a Split
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  bool individual_digits = false;  // of Digits
  bool add_prefix_space = false;   // of ByteLevel
  bool use_regex = true;           // of ByteLevel: GPT-2's regular expression
};

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

// The contents of a byte-level BPE's tokenizer.json.
struct TokenizerSpec {
  std::vector<std::pair<std::string, TokenId>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  bool ignore_merges = false;
  bool has_unk_token = false;
  std::vector<NormalizerSpec> normalizers;       // applied in order
  std::vector<PreTokenizerSpec> pre_tokenizers;  // applied in order; ByteLevel is the last, and only the last
  std::vector<AddedToken> added_tokens;
  std::vector<TokenId> prefix;  // ids that the post-processor adds before a text
  std::vector<TokenId> suffix;  // and after it
};

// Parses a tokenizer.json. Throws Error, prefixed with `where` and naming the part, if it is not one, for unsupported
// parts (see the list in tokenizer.h), for more than 2^22 tokens, and for ids of 2^24 or more. Padding and truncation,
// which are settings of batches, are ignored.
TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where);

// The fields of tokenizer_config.json. Tokens are given by their content.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> pad_token;
  bool add_bos_token = false;
  bool add_eos_token = false;
};
TokenizerConfig parse_tokenizer_config(std::string_view json, const std::string& where);

}  // namespace outrider
