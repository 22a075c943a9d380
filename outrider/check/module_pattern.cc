#include "outrider/check/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

namespace outrider {

struct ModulePattern::Code {
  struct CodeDeleter {
    void operator()(pcre2_code* of) const { pcre2_code_free(of); }
  };
  struct MatchDeleter {
    void operator()(pcre2_match_data* of) const { pcre2_match_data_free(of); }
  };
  struct ContextDeleter {
    void operator()(pcre2_match_context* of) const { pcre2_match_context_free(of); }
  };

  explicit Code(std::string_view expression) {
    int error = 0;
    PCRE2_SIZE where = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                             PCRE2_UTF | PCRE2_ANCHORED, &error, &where, nullptr));
    data.reset(pcre2_match_data_create(1, nullptr));
    limits.reset(pcre2_match_context_create(nullptr));
    // The expression comes from an untrusted file.
    pcre2_set_match_limit(limits.get(), 20'000);
    pcre2_set_depth_limit(limits.get(), 1'000);
  }
  bool matches(std::string_view text) const {
    return pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data.get(),
                       limits.get()) >= 0;
  }

  std::unique_ptr<pcre2_code, CodeDeleter> code;
  std::unique_ptr<pcre2_match_data, MatchDeleter> data;
  std::unique_ptr<pcre2_match_context, ContextDeleter> limits;
};

ModulePattern::ModulePattern(std::string text) : text_(std::move(text)) {
  if (text_.starts_with("re:")) {
    auto code = std::make_shared<const Code>(std::string_view(text_).substr(3));
    invalid_ = code->code == nullptr;
    if (!invalid_) code_ = std::move(code);
  } else {
    glob_ = text_.find_first_of("*?[") != std::string::npos;
  }
}

bool ModulePattern::matches(std::string_view module) const {
  if (is_class()) return true;
  if (invalid_) return false;
  if (code_ != nullptr) return code_->matches(module);
  return glob_ ? glob_matches(text_, module) : module == text_;
}

namespace {

// Matches one character against the glob at `at`; `next` is the position after it.
bool matches_one(std::string_view glob, std::size_t at, char c, std::size_t& next) {
  next = at + 1;
  if (glob[at] == '?') return true;
  const std::size_t close = glob[at] == '[' ? glob.find(']', at + 2) : std::string_view::npos;
  if (close == std::string_view::npos) return glob[at] == c;
  next = close + 1;
  std::string_view set = glob.substr(at + 1, close - at - 1);
  const bool negated = set[0] == '!';
  if (negated) set.remove_prefix(1);
  bool in = false;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (i + 2 < set.size() && set[i + 1] == '-') {
      in = in || (set[i] <= c && c <= set[i + 2]);
      i += 2;
    } else {
      in = in || set[i] == c;
    }
  }
  return in != negated;
}

}  // namespace

bool glob_matches(std::string_view glob, std::string_view text) {
  std::size_t g = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;  // the last star, and how much it has matched
  std::size_t taken = 0;
  while (t < text.size()) {
    std::size_t next = g;
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      taken = t;
    } else if (g < glob.size() && matches_one(glob, g, text[t], next)) {
      g = next;
      ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

ModulePatterns::ModulePatterns(const std::vector<std::string>& entries) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    ModulePattern pattern(entries[i]);
    if (pattern.is_name() && !pattern.is_class()) {
      names_.emplace(entries[i], i);
    } else {
      patterns_.emplace_back(i, std::move(pattern));
    }
  }
}

std::optional<std::size_t> ModulePatterns::find(std::string_view module) const {
  std::optional<std::size_t> best;
  const auto take = [&](std::size_t i) { best = best ? std::min(*best, i) : i; };
  std::string other = module.starts_with("model.") ? std::string(module.substr(6)) : "model." + std::string(module);
  for (std::string_view spelt : {module, std::string_view(other)}) {
    for (std::string_view at = spelt;; at = at.substr(0, at.rfind('.'))) {
      if (const auto it = names_.find(std::string(at)); it != names_.end()) take(it->second);
      for (const auto& [i, pattern] : patterns_) {
        if (!(best && *best < i) && pattern.matches(at)) take(i);
      }
      if (at.find('.') == std::string_view::npos) break;
    }
  }
  return best;
}

}  // namespace outrider
