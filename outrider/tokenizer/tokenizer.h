#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

struct EncodeOptions {
  // Add the tokens of the post-processor's template, or of add_bos_token and add_eos_token in tokenizer_config.json.
  bool add_special_tokens = true;
  // Encode special tokens in the text as their ids. If false, they are plain text, so that untrusted text cannot inject
  // the markup of a prompt (`encode_special_tokens` of `tokenizers`).
  bool special_tokens_in_text = true;
  // Once stop is requested, encode() returns early, and what it returns is of no use.
  std::stop_token unwanted = {};
};

// A byte-level BPE tokenizer read from Hugging Face's tokenizer.json. Produces the ids of the `tokenizers` package.
//
// Supported: model BPE (merges in both spellings, ignore_merges); pre-tokenizers Split, Digits and, last, ByteLevel,
// alone or in a Sequence; normalizers NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence; added tokens with all their
// options; decoder ByteLevel; post-processors ByteLevel and TemplateProcessing. Anything else there is an Error that
// names it. Added tokens keep the ids of the file.
//
// Thread-safe.
class Tokenizer {
 public:
  // Reads tokenizer.json and, if present, tokenizer_config.json from a checkpoint's directory. Throws Error as
  // parse_tokenizer_json does, and for duplicate ids or tokens, merges of unknown tokens, and invalid regular
  // expressions.
  static Tokenizer open(const std::filesystem::path& directory);
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {},
                         const std::string& where = "tokenizer.json");
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Encodes `text`. Invalid UTF-8 is replaced by U+FFFD, as with Python's errors="replace". Throws Error for texts of 1
  // GiB or more, and if a regular expression of the file takes too many steps.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // No text of that many bytes has fewer tokens. For refusing a text without encoding it.
  std::size_t min_tokens(std::size_t bytes) const;
  // Decodes `ids`, with U+FFFD for invalid UTF-8. Ids without a token decode to nothing.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // Tokens are spelled as in the file: "Ġthe" for " the".
  std::optional<TokenId> token_to_id(std::string_view token) const;
  std::optional<std::string_view> id_to_token(TokenId id) const;
  // The bytes that a token decodes to; empty for ids without a token.
  std::string_view bytes(TokenId id) const;
  bool is_special(TokenId id) const;
  std::size_t vocab_size() const;  // number of tokens, added ones included
  TokenId id_limit() const;        // largest id + 1

  // From tokenizer_config.json.
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  std::optional<TokenId> pad_id() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);

  std::unique_ptr<const Parts> parts_;
};

// Decodes a stream of tokens: each piece consists of whole code points, and their concatenation equals
// Tokenizer::decode of all ids. The tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // Returns the text that is complete after `id`; empty while a code point is incomplete.
  std::string push(TokenId id);
  // Ends the stream: returns U+FFFD if it ends within a code point, else nothing.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace outrider
