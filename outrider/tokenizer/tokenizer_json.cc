#include "outrider/tokenizer/tokenizer_json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxTokens = std::size_t{1} << 22;
constexpr std::uint64_t kMaxId = std::uint64_t{1} << 24;
constexpr std::size_t kMaxSteps = 64;  // normalizers, or pre-tokenizers

// One value of the file, with its path for messages.
class Value {
 public:
  Value(element value, std::string where) : value_(value), where_(std::move(where)) {}

  [[noreturn]] void fail(std::string_view what) const { throw Error(fmt::format("{}: {}", where_, what)); }

  bool is_string() const { return value_.is_string(); }

  object as_object() const {
    object out;
    if (value_.get(out) != simdjson::SUCCESS) fail("is not an object. Is this a tokenizer.json of `tokenizers`?");
    return out;
  }
  array as_array() const {
    array out;
    if (value_.get(out) != simdjson::SUCCESS) fail("is not an array. Is this a tokenizer.json of `tokenizers`?");
    return out;
  }
  std::string as_string() const {
    std::string_view out;
    if (value_.get(out) != simdjson::SUCCESS) fail("is not a string.");
    return std::string(out);
  }
  bool as_bool() const {
    bool out = false;
    if (value_.get(out) != simdjson::SUCCESS) fail("is neither true nor false.");
    return out;
  }
  double as_number() const {
    double out = 0;
    if (value_.get(out) != simdjson::SUCCESS) fail("is not a number.");
    return out;
  }
  TokenId as_id() const {
    std::uint64_t out = 0;
    if (value_.get(out) != simdjson::SUCCESS) fail("is not a token id (a non-negative integer).");
    if (out >= kMaxId) fail(fmt::format("the token id {} is too large; it must be less than {}.", out, kMaxId));
    return static_cast<TokenId>(out);
  }

  // Finds a field; nothing if it is absent or null. Of a repeated key, the first is used.
  std::optional<Value> find(std::string_view key) const {
    element out;
    if (as_object().at_key(key).get(out) != simdjson::SUCCESS || out.is_null()) return std::nullopt;
    return Value(out, fmt::format("{}, {}", where_, key));
  }
  Value at(std::string_view key) const {
    std::optional<Value> found = find(key);
    if (!found) fail(fmt::format("the field \"{}\" is missing.", key));
    return *std::move(found);
  }
  bool flag(std::string_view key, bool otherwise) const {
    const std::optional<Value> found = find(key);
    return found ? found->as_bool() : otherwise;
  }
  std::string type() const { return at("type").as_string(); }
  Value item(element value, std::size_t index) const { return {value, fmt::format("{}[{}]", where_, index)}; }

  [[noreturn]] void unsupported(std::string_view part) const {
    fail(fmt::format("{} is not supported. Outrider supports only byte-level BPE tokenizers.", part));
  }

 private:
  element value_;
  std::string where_;
};

// The steps of a part, which may be null, one step, or a Sequence with steps in the field `list`.
std::vector<Value> steps(const Value& root, std::string_view part, std::string_view list) {
  std::vector<Value> out;
  std::vector<Value> open;
  if (std::optional<Value> first = root.find(part)) open.push_back(*std::move(first));
  while (!open.empty()) {
    const Value step = std::move(open.back());
    open.pop_back();
    if (out.size() + open.size() > kMaxSteps) root.fail(fmt::format("{} has more than {} steps.", part, kMaxSteps));
    if (step.type() != "Sequence") {
      out.push_back(step);
      continue;
    }
    const Value inner = step.at(list);
    const std::size_t begin = open.size();
    std::size_t index = 0;
    for (const element child : inner.as_array()) {
      if (index > kMaxSteps) root.fail(fmt::format("{} has more than {} steps.", part, kMaxSteps));
      open.insert(open.begin() + static_cast<std::ptrdiff_t>(begin), inner.item(child, index++));
    }
  }
  return out;
}

PatternSpec parse_pattern(const Value& value) {
  if (const std::optional<Value> regex = value.find("Regex")) return {true, regex->as_string()};
  if (const std::optional<Value> text = value.find("String")) return {false, text->as_string()};
  value.unsupported("a pattern that is neither {\"Regex\": …} nor {\"String\": …}");
}

NormalizerSpec parse_normalizer(const Value& value) {
  using Kind = NormalizerSpec::Kind;
  const std::string type = value.type();
  if (type == "NFC") return {Kind::kNfc, {}, {}};
  if (type == "NFD") return {Kind::kNfd, {}, {}};
  if (type == "NFKC") return {Kind::kNfkc, {}, {}};
  if (type == "NFKD") return {Kind::kNfkd, {}, {}};
  if (type == "Prepend") return {Kind::kPrepend, value.at("prepend").as_string(), {}};
  if (type == "Replace") {
    return {Kind::kReplace, value.at("content").as_string(), parse_pattern(value.at("pattern"))};
  }
  value.unsupported(fmt::format("the normalizer \"{}\"", printable(type)));
}

PreTokenizerSpec parse_pre_tokenizer(const Value& value) {
  using Kind = PreTokenizerSpec::Kind;
  const std::string type = value.type();
  PreTokenizerSpec spec;
  if (type == "ByteLevel") {
    spec.kind = Kind::kByteLevel;
    spec.add_prefix_space = value.at("add_prefix_space").as_bool();
    spec.use_regex = value.flag("use_regex", true);
    return spec;
  }
  if (type == "Digits") {
    spec.kind = Kind::kDigits;
    spec.individual_digits = value.at("individual_digits").as_bool();
    return spec;
  }
  if (type != "Split") value.unsupported(fmt::format("the pre-tokenizer \"{}\"", printable(type)));
  spec.pattern = parse_pattern(value.at("pattern"));
  spec.invert = value.flag("invert", false);
  const std::string behavior = value.at("behavior").as_string();
  if (behavior == "Isolated") {
    spec.behavior = SplitBehavior::kIsolated;
  } else if (behavior == "Removed") {
    spec.behavior = SplitBehavior::kRemoved;
  } else if (behavior == "MergedWithPrevious") {
    spec.behavior = SplitBehavior::kMergedWithPrevious;
  } else if (behavior == "MergedWithNext") {
    spec.behavior = SplitBehavior::kMergedWithNext;
  } else if (behavior == "Contiguous") {
    spec.behavior = SplitBehavior::kContiguous;
  } else {
    value.unsupported(fmt::format("the split behavior \"{}\"", printable(behavior)));
  }
  return spec;
}

// The two tokens of a merge: ["a", "b"], or "a b" in older files.
std::pair<std::string, std::string> parse_merge(const Value& value) {
  if (value.is_string()) {
    const std::string text = value.as_string();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      value.fail(fmt::format("the merge \"{}\" is not two tokens separated by one space.", printable(text)));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }
  std::vector<std::string> parts;
  for (const element part : value.as_array()) {
    if (parts.size() == 2) value.fail("a merge has more than two tokens.");
    parts.push_back(value.item(part, parts.size()).as_string());
  }
  if (parts.size() != 2) value.fail("a merge has fewer than two tokens.");
  return {parts[0], parts[1]};
}

void parse_model(const Value& model, TokenizerSpec& spec) {
  // Files older than `tokenizers` 0.11 have no type.
  const std::optional<Value> type = model.find("type");
  if (type && type->as_string() != "BPE") {
    model.unsupported(fmt::format("a model of the type \"{}\"", printable(type->as_string())));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::optional<Value> text = model.find(affix);
    if (text && !text->as_string().empty()) model.unsupported(fmt::format("a BPE with \"{}\"", affix));
  }
  const std::optional<Value> dropout = model.find("dropout");
  if (dropout && dropout->as_number() != 0) model.unsupported("a BPE with dropout");
  spec.has_unk_token = model.find("unk_token").has_value();
  spec.ignore_merges = model.flag("ignore_merges", false);

  const Value vocab = model.at("vocab");
  for (const auto [token, id] : vocab.as_object()) {
    if (spec.vocab.size() == kMaxTokens) vocab.fail(fmt::format("has more than {} tokens.", kMaxTokens));
    std::uint64_t number = 0;
    if (id.get(number) != simdjson::SUCCESS || number >= kMaxId) {
      vocab.fail(fmt::format("the id of \"{}\" is not an integer from 0 to {}.", printable(token), kMaxId - 1));
    }
    spec.vocab.emplace_back(token, static_cast<TokenId>(number));
  }
  const Value merges = model.at("merges");
  for (const element merge : merges.as_array()) {
    if (spec.merges.size() == kMaxTokens) merges.fail(fmt::format("has more than {} merges.", kMaxTokens));
    spec.merges.push_back(parse_merge(merges.item(merge, spec.merges.size())));
  }
}

AddedToken parse_added_token(const Value& value) {
  AddedToken token;
  token.id = value.at("id").as_id();
  token.content = value.at("content").as_string();
  token.single_word = value.flag("single_word", false);
  token.lstrip = value.flag("lstrip", false);
  token.rstrip = value.flag("rstrip", false);
  token.special = value.flag("special", false);
  token.normalized = value.flag("normalized", !token.special);
  return token;
}

// Reads the token ids of TemplateProcessing's template for a single text.
void parse_template(const Value& processor, TokenizerSpec& spec) {
  const Value single = processor.at("single");
  const Value tokens = processor.at("special_tokens");
  bool seen_text = false;
  std::size_t index = 0;
  for (const element piece : single.as_array()) {
    const Value item = single.item(piece, index++);
    if (const std::optional<Value> sequence = item.find("Sequence")) {
      if (seen_text || sequence->at("id").as_string() != "A") item.unsupported("a template that is not one text");
      seen_text = true;
      continue;
    }
    const std::string name = item.at("SpecialToken").at("id").as_string();
    const Value ids = tokens.at(name).at("ids");
    std::vector<TokenId>& to = seen_text ? spec.suffix : spec.prefix;
    std::size_t number = 0;
    for (const element id : ids.as_array()) {
      if (to.size() == kMaxSteps) processor.unsupported(fmt::format("a template of more than {} tokens", kMaxSteps));
      to.push_back(ids.item(id, number++).as_id());
    }
  }
  if (!seen_text) single.unsupported("a template without a text");
}

// Parses the file into the parser's document, or throws Error.
element parse_document(simdjson::dom::parser& parser, std::string_view json, const std::string& where) {
  element root;
  auto error = parser.allocate(json.size(), kMaxDepth);
  if (error == simdjson::SUCCESS) error = parser.parse(json.data(), json.size()).get(root);
  if (error != simdjson::SUCCESS) {
    throw Error(fmt::format("{}: not valid JSON ({}). Restore the file from the checkpoint's source.", where,
                            simdjson::error_message(error)));
  }
  return root;
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where) {
  simdjson::dom::parser parser;
  const Value root(parse_document(parser, json, where), where);
  TokenizerSpec spec;
  parse_model(root.at("model"), spec);
  for (const Value& step : steps(root, "normalizer", "normalizers")) spec.normalizers.push_back(parse_normalizer(step));
  for (const Value& step : steps(root, "pre_tokenizer", "pretokenizers")) {
    spec.pre_tokenizers.push_back(parse_pre_tokenizer(step));
  }
  std::size_t byte_levels = 0;
  for (const PreTokenizerSpec& step : spec.pre_tokenizers)
    byte_levels += step.kind == PreTokenizerSpec::Kind::kByteLevel;
  if (byte_levels != 1 || spec.pre_tokenizers.back().kind != PreTokenizerSpec::Kind::kByteLevel) {
    root.unsupported("a pre_tokenizer that does not end in its only ByteLevel");
  }
  const std::vector<Value> decoders = steps(root, "decoder", "decoders");
  if (decoders.size() != 1 || decoders.front().type() != "ByteLevel")
    root.unsupported("a decoder other than ByteLevel");
  for (const Value& step : steps(root, "post_processor", "processors")) {
    if (step.type() == "TemplateProcessing" && spec.prefix.empty() && spec.suffix.empty()) {
      parse_template(step, spec);
    } else if (step.type() != "ByteLevel") {  // which only changes offsets
      step.unsupported(fmt::format("the post-processor \"{}\"", printable(step.type())));
    }
  }
  if (const std::optional<Value> added = root.find("added_tokens")) {
    for (const element token : added->as_array()) {
      if (spec.added_tokens.size() == kMaxTokens) added->fail(fmt::format("has more than {} tokens.", kMaxTokens));
      spec.added_tokens.push_back(parse_added_token(added->item(token, spec.added_tokens.size())));
    }
  }
  return spec;
}

TokenizerConfig parse_tokenizer_config(std::string_view json, const std::string& where) {
  simdjson::dom::parser parser;
  const Value root(parse_document(parser, json, where), where);
  const auto token = [&](std::string_view key) -> std::optional<std::string> {
    const std::optional<Value> value = root.find(key);
    if (!value) return std::nullopt;
    return value->is_string() ? value->as_string() : value->at("content").as_string();
  };
  TokenizerConfig config;
  config.bos_token = token("bos_token");
  config.eos_token = token("eos_token");
  config.pad_token = token("pad_token");
  config.add_bos_token = root.flag("add_bos_token", false);
  config.add_eos_token = root.flag("add_eos_token", false);
  return config;
}

}  // namespace outrider
