#include "outrider/tokenizer/regex.h"

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <new>

#include "outrider/tokenizer/oniguruma_syntax.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxPattern = 64 << 10;
constexpr std::size_t kMaxPcre2Pattern = 1 << 20;
// Enough to backtrack through a run of a million blanks; a hostile pattern fails within a second.
constexpr std::uint32_t kMatchLimit = 50'000'000;
constexpr std::uint32_t kHeapLimitKiB = 256 << 10;
constexpr std::size_t kJitStackStart = 32 << 10;
constexpr std::size_t kJitStackMax = 8 << 20;

// Per-thread state of matching.
class Workspace {
 public:
  Workspace()
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        jit_stack_(pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr)) {
    if (data_ == nullptr || context_ == nullptr || jit_stack_ == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(context_, kMatchLimit);
    pcre2_set_heap_limit(context_, kHeapLimitKiB);
    pcre2_jit_stack_assign(context_, nullptr, jit_stack_);
  }
  ~Workspace() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
    pcre2_jit_stack_free(jit_stack_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  static Workspace& of_this_thread() {
    thread_local Workspace workspace;
    return workspace;
  }

  pcre2_match_data* data() const { return data_; }
  pcre2_match_context* context() const { return context_; }

 private:
  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* jit_stack_;
};

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string shown;

  Code() = default;
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Regex Regex::oniguruma(std::string_view pattern) {
  if (pattern.size() > kMaxPattern) {
    throw Error(fmt::format("the regular expression \"{}\" has {} bytes; the maximum is {}.", printable(pattern),
                            pattern.size(), kMaxPattern));
  }
  return Regex(oniguruma_to_pcre2(pattern), pattern);
}

Regex Regex::literal(std::string_view text) {
  if (text.size() > kMaxPattern) {
    throw Error(
        fmt::format("the pattern \"{}\" has {} bytes; the maximum is {}.", printable(text), text.size(), kMaxPattern));
  }
  return Regex(quoted_for_pcre2(text), text);
}

Regex::Regex(const std::string& pattern, std::string_view shown) {
  const auto code = std::make_shared<Code>();
  code->shown = printable(shown, 400);
  if (pattern.size() > kMaxPcre2Pattern) {
    throw Error(fmt::format("the regular expression \"{}\" is too large once its classes are expanded.", code->shown));
  }
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (code->code == nullptr) {
    throw Error(fmt::format("the regular expression \"{}\" does not compile ({}).", code->shown, pcre2_message(error)));
  }
  code->jit = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  code_ = code;
}

void Regex::find_all(std::string_view text, std::vector<Match>& matches, const std::stop_token& unwanted) const {
  const Workspace& workspace = Workspace::of_this_thread();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(workspace.data());
  std::size_t from = 0;
  std::size_t last_end = std::string_view::npos;
  while (from <= text.size() && !unwanted.stop_requested()) {
    int found = code_->jit
                    ? pcre2_jit_match(code_->code, subject, text.size(), from, 0, workspace.data(), workspace.context())
                    : PCRE2_ERROR_JIT_STACKLIMIT;
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK, workspace.data(),
                          workspace.context());
    }
    if (found == PCRE2_ERROR_NOMATCH) return;
    if (found < 0) {
      throw Error(fmt::format(
          "matching the regular expression \"{}\" on a text of {} bytes failed ({}). Shorten the text, or fix the "
          "expression.",
          code_->shown, text.size(), pcre2_message(found)));
    }
    const Match match{offsets[0], offsets[1]};
    if (match.begin == match.end && match.end == last_end) {
      ++from;
      while (from < text.size() && (static_cast<std::uint8_t>(text[from]) & 0xc0) == 0x80) ++from;
      continue;
    }
    matches.push_back(match);
    from = last_end = match.end;
  }
}

}  // namespace outrider
