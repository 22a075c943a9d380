#include "outrider/tokenizer/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "outrider/files/file_reader.h"
#include "outrider/tokenizer/added_tokens.h"
#include "outrider/tokenizer/bpe.h"
#include "outrider/tokenizer/byte_alphabet.h"
#include "outrider/tokenizer/normalizer.h"
#include "outrider/tokenizer/pre_tokenizer.h"
#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxFile = std::uint64_t{256} << 20;
constexpr std::size_t kMaxText = std::size_t{1} << 30;

struct Entry {
  std::string token;
  std::string bytes;
  bool special = false;
};

// All tokens by id.
class Vocabulary {
 public:
  Vocabulary(const TokenizerSpec& spec, const Normalizer& normalizer, const std::string& where) {
    for (const auto& [token, id] : spec.vocab) {
      if (!ids_.emplace(token, id).second) {
        throw Error(fmt::format("{}: the token \"{}\" occurs twice in the vocabulary. Restore the file.", where,
                                printable(token)));
      }
      put(token, id, where);
    }
    for (const AddedToken& added : spec.added_tokens) {
      const auto [found, is_new] = ids_.emplace(added.content, added.id);
      if (found->second != added.id) {
        throw Error(fmt::format("{}: the added token \"{}\" has two ids, {} and {}. Restore the file.", where,
                                printable(added.content), added.id, found->second));
      }
      if (is_new) put(added.content, added.id, where);
      Entry& entry = entries_[places_[added.id]];
      entry.special = entry.special || added.special;
      if (added.normalized && !normalizer.empty()) {
        // As in the package, such a token is shown and decoded as its normalized text.
        entry.token = normalizer.normalize(added.content);
        entry.bytes = bytes_of_token(entry.token).value_or(entry.token);
      }
    }
  }

  const Entry* find(TokenId id) const {
    return id < places_.size() && places_[id] != kNone ? &entries_[places_[id]] : nullptr;
  }
  std::optional<TokenId> id_of(std::string_view token) const {
    const auto found = ids_.find(std::string(token));
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  std::size_t size() const { return ids_.size(); }
  std::size_t longest() const { return longest_; }
  TokenId limit() const { return static_cast<TokenId>(places_.size()); }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  void put(const std::string& token, TokenId id, const std::string& where) {
    if (id >= places_.size()) places_.resize(id + std::size_t{1}, kNone);
    if (const Entry* entry = find(id)) {
      throw Error(fmt::format("{}: two tokens have the id {}: \"{}\" and \"{}\". Restore the file.", where, id,
                              printable(entry->token), printable(token)));
    }
    places_[id] = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back({token, bytes_of_token(token).value_or(token), false});
    longest_ = std::max(longest_, token.size());
  }

  std::size_t longest_ = 0;  // bytes of a token as spelled, which are no fewer than those that it decodes to
  std::unordered_map<std::string, TokenId> ids_;
  std::vector<std::uint32_t> places_;  // index in entries_, by id; a file may skip millions of ids
  std::vector<Entry> entries_;
};

// The patterns of added tokens matched before (`normalized` false) or after normalization.
std::vector<AddedTokenMatcher::Pattern> patterns(const TokenizerSpec& spec, bool normalized,
                                                 const Normalizer& normalizer) {
  std::vector<AddedTokenMatcher::Pattern> out;
  for (const bool special : {true, false}) {
    for (const AddedToken& token : spec.added_tokens) {
      if (token.special != special || token.normalized != normalized || token.content.empty()) continue;
      std::string text = normalized ? normalizer.normalize(token.content) : token.content;
      if (!text.empty()) out.push_back({std::move(text), token});
    }
  }
  return out;
}

}  // namespace

struct Tokenizer::Parts {
  Parts(const TokenizerSpec& spec, const std::string& where)
      : normalizer(spec.normalizers),
        vocabulary(spec, normalizer, where),
        raw_tokens(patterns(spec, false, normalizer)),
        normalized_tokens(patterns(spec, true, normalizer)),
        pre_tokenizer(spec.pre_tokenizers),
        bpe(spec, where),
        prefix(spec.prefix),
        suffix(spec.suffix) {}

  Normalizer normalizer;
  Vocabulary vocabulary;
  AddedTokenMatcher raw_tokens;
  AddedTokenMatcher normalized_tokens;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  std::optional<TokenId> pad;
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::open(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "tokenizer.json";
  const std::filesystem::path config = directory / "tokenizer_config.json";
  std::error_code ignored;
  const bool has_config = std::filesystem::exists(config, ignored);
  return parse(read_text_file(file, kMaxFile), has_config ? read_text_file(config, kMaxFile) : std::string{},
               printable(file.string(), 4096));
}

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                           const std::string& where) {
  const TokenizerSpec spec = parse_tokenizer_json(tokenizer_json, where);
  std::unique_ptr<Parts> parts;
  try {
    parts = std::make_unique<Parts>(spec, where);
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with(where)) throw;
    throw Error(fmt::format("{}: {}", where, e.what()));
  }
  if (!tokenizer_config_json.empty()) {
    const TokenizerConfig config =
        parse_tokenizer_config(tokenizer_config_json, "tokenizer_config.json beside " + where);
    const auto id = [&](const char* name, const std::optional<std::string>& token) -> std::optional<TokenId> {
      if (!token) return std::nullopt;
      const std::optional<TokenId> found = parts->vocabulary.id_of(*token);
      if (!found) {
        throw Error(fmt::format(
            "{}: the token \"{}\" is missing, which is the {} of tokenizer_config.json. The two files are from "
            "different tokenizers.",
            where, printable(*token), name));
      }
      return found;
    };
    parts->bos = id("bos_token", config.bos_token);
    parts->eos = id("eos_token", config.eos_token);
    parts->pad = id("pad_token", config.pad_token);
    if (parts->prefix.empty() && parts->suffix.empty()) {
      if (config.add_bos_token && parts->bos) parts->prefix.push_back(*parts->bos);
      if (config.add_eos_token && parts->eos) parts->suffix.push_back(*parts->eos);
    }
  }
  return Tokenizer(std::move(parts));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() >= kMaxText) {
    throw Error(fmt::format("the text has {} bytes; the maximum is {}. Split it.", text.size(), kMaxText));
  }
  std::string repaired;
  if (!simdjson::validate_utf8(text.data(), text.size())) {
    if (append_utf8_lossy(repaired, text) > 0) repaired += kReplacementCharacter;
    text = repaired;
  }
  std::vector<TokenId> ids;
  if (options.add_special_tokens) ids = parts_->prefix;
  PreTokenizer::Workspace pieces;
  pieces.unwanted = options.unwanted;
  Bpe::Workspace symbols;
  symbols.unwanted = options.unwanted;
  std::vector<AddedTokenMatcher::Part> parts;
  std::vector<AddedTokenMatcher::Part> inner;
  std::string normalized;
  parts_->raw_tokens.split(text, options.special_tokens_in_text, parts);
  for (const AddedTokenMatcher::Part& part : parts) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    std::string_view rest = part.text;
    if (!parts_->normalizer.empty()) {
      normalized = parts_->normalizer.normalize(rest);
      rest = normalized;
    }
    inner.clear();
    parts_->normalized_tokens.split(rest, options.special_tokens_in_text, inner);
    for (const AddedTokenMatcher::Part& piece : inner) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      for (const std::string_view word : parts_->pre_tokenizer.split(piece.text, pieces)) {
        if (options.unwanted.stop_requested()) return ids;
        parts_->bpe.encode(word, ids, symbols);
      }
    }
  }
  if (options.add_special_tokens) ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  return ids;
}

std::size_t Tokenizer::min_tokens(std::size_t bytes) const {
  return parts_->normalizer.empty() ? bytes / std::max(parts_->vocabulary.longest(), std::size_t{1}) : 0;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string all;
  for (const TokenId id : ids) {
    if (!skip_special_tokens || !is_special(id)) all += bytes(id);
  }
  std::string text;
  if (append_utf8_lossy(text, all) > 0) text += kReplacementCharacter;
  return text;
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  return parts_->vocabulary.id_of(token);
}

std::optional<std::string_view> Tokenizer::id_to_token(TokenId id) const {
  const Entry* entry = parts_->vocabulary.find(id);
  return entry == nullptr ? std::nullopt : std::optional<std::string_view>(entry->token);
}

std::string_view Tokenizer::bytes(TokenId id) const {
  const Entry* entry = parts_->vocabulary.find(id);
  return entry == nullptr ? std::string_view{} : std::string_view(entry->bytes);
}

bool Tokenizer::is_special(TokenId id) const {
  const Entry* entry = parts_->vocabulary.find(id);
  return entry != nullptr && entry->special;
}

std::size_t Tokenizer::vocab_size() const {
  return parts_->vocabulary.size();
}

TokenId Tokenizer::id_limit() const {
  return parts_->vocabulary.limit();
}

std::optional<TokenId> Tokenizer::bos_id() const {
  return parts_->bos;
}

std::optional<TokenId> Tokenizer::eos_id() const {
  return parts_->eos;
}

std::optional<TokenId> Tokenizer::pad_id() const {
  return parts_->pad;
}

std::string StreamDecoder::push(TokenId id) {
  std::string text;
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return text;
  pending_ += tokenizer_->bytes(id);
  const std::size_t left = append_utf8_lossy(text, pending_);
  pending_.erase(0, pending_.size() - left);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text(pending_.empty() ? std::string_view{} : kReplacementCharacter);
  pending_.clear();
  return text;
}

}  // namespace outrider
