#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

struct EncodeOptions {
  // Write what the post-processor's template, or add_bos_token and add_eos_token of tokenizer_config.json, say.
  bool add_special_tokens = true;
  // Special tokens that stand in the text become their ids. Without, they are encoded as any other text, so that text
  // from outside cannot pose as the markup of a prompt (`encode_special_tokens` of `tokenizers`).
  bool special_tokens_in_text = true;
};

// A byte-level BPE tokenizer read from Hugging Face's tokenizer.json: the ids are those of the `tokenizers` package.
//
// Supported: model BPE (merges in both spellings, ignore_merges); pre-tokenizers Split, Digits and, as the last,
// ByteLevel, alone or in a Sequence; normalizers NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence; added tokens with
// all their options; decoder ByteLevel; post-processors ByteLevel and TemplateProcessing. Anything else in those places
// is an Error that names it. Added tokens keep the ids that the file gives them.
//
// One tokenizer serves any number of threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where it is there, tokenizer_config.json of a checkpoint's directory. Throws Error: for
  // what parse_tokenizer_json refuses, ids or tokens that stand twice, merges of unknown tokens, invalid expressions.
  static Tokenizer open(const std::filesystem::path& directory);
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {},
                         const std::string& where = "tokenizer.json");
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // The ids of `text`. What is not UTF-8 counts as U+FFFD, as Python's errors="replace" has it. Throws Error for texts
  // of 1 GiB and more, and when an expression of the file takes too many steps on the text.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The text of `ids`; what is not UTF-8 as U+FFFD. Ids without a token have no text.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // Tokens as the file spells them: "Ġthe" for " the".
  std::optional<TokenId> token_to_id(std::string_view token) const;
  std::optional<std::string_view> id_to_token(TokenId id) const;
  // The bytes that a token adds to a text; none for ids without a token.
  std::string_view bytes(TokenId id) const;
  bool is_special(TokenId id) const;
  std::size_t vocab_size() const;  // tokens, added ones included
  TokenId id_limit() const;        // one more than the largest id

  // From tokenizer_config.json.
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  std::optional<TokenId> pad_id() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);

  std::unique_ptr<const Parts> parts_;
};

// Decodes a stream of tokens: each piece is whole code points, and all of them together are Tokenizer::decode of all
// the ids. The tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // The text that `id` makes certain; empty while a code point is incomplete.
  std::string push(TokenId id);
  // At the end of the stream: U+FFFD where it breaks off within a code point, else nothing.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace outrider
