#include "outrider/tokenizer/normalizer.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using Kind = NormalizerSpec::Kind;

void check(UErrorCode status) {
  if (U_FAILURE(status)) throw Error(fmt::format("ICU cannot normalize the text ({}).", u_errorName(status)));
}

const icu::Normalizer2& form(Kind kind) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* instance = kind == Kind::kNfc    ? icu::Normalizer2::getNFCInstance(status)
                                     : kind == Kind::kNfd  ? icu::Normalizer2::getNFDInstance(status)
                                     : kind == Kind::kNfkc ? icu::Normalizer2::getNFKCInstance(status)
                                                           : icu::Normalizer2::getNFKDInstance(status);
  check(status);
  return *instance;
}

const icu::UnicodeSet& unicode_9() {
  static const icu::UnicodeSet* const set = [] {
    UErrorCode status = U_ZERO_ERROR;
    auto* made = new icu::UnicodeSet(u"[:age=9.0:]", status);
    check(status);
    made->freeze();
    return made;
  }();
  return *set;
}

std::string normalized(Kind kind, std::string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return std::string(text);
  const icu::FilteredNormalizer2 normalizer(form(kind), unicode_9());
  std::string utf8;
  icu::StringByteSink<std::string> sink(&utf8, static_cast<std::int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  normalizer.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())), sink, nullptr,
                           status);
  check(status);
  return utf8;
}

[[noreturn]] void fail_grown(std::size_t size) {
  throw Error(fmt::format("the normalizer makes a text of {} bytes many times longer. Restore the file.", size));
}

std::string replaced(const Regex& regex, std::string_view text, std::string_view with, std::size_t max_size) {
  std::vector<Regex::Match> matches;
  regex.find_all(text, matches);
  if (!matches.empty() && with.size() > max_size / matches.size()) fail_grown(text.size());
  std::string out;
  std::size_t from = 0;
  for (const Regex::Match& match : matches) {
    out += text.substr(from, match.begin - from);
    out += with;
    from = match.end;
  }
  return out += text.substr(from);
}

}  // namespace

Normalizer::Normalizer(std::span<const NormalizerSpec> specs) {
  for (const NormalizerSpec& spec : specs) {
    Step step{spec, {}};
    if (spec.kind == Kind::kReplace) {
      step.regex.push_back(spec.pattern.regex ? Regex::oniguruma(spec.pattern.text)
                                              : Regex::literal(spec.pattern.text));
    }
    steps_.push_back(std::move(step));
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  // NFKC turns one character into up to eleven, and spaces may become three bytes.
  const std::size_t max_size = 64 * text.size() + (1 << 20);
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.spec.kind) {
      case Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.spec.text);
        break;
      case Kind::kReplace:
        out = replaced(step.regex.front(), out, step.spec.text, max_size);
        break;
      default:
        out = normalized(step.spec.kind, out);
    }
    if (out.size() > max_size) fail_grown(text.size());
  }
  return out;
}

}  // namespace outrider
