#include "outrider/artifact/module_targets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace outrider {
namespace {

// A module's name as a pattern and its numbers: "layers.3.ffn.experts.7.w1".
struct ModuleName {
  std::string pattern;  // "layers.*.ffn.experts.*.w1"
  std::string first;    // "3"
};

bool is_number(std::string_view piece) {
  return !piece.empty() && piece.find_first_not_of("0123456789") == std::string_view::npos;
}

ModuleName split(std::string_view name) {
  ModuleName out;
  while (true) {
    const std::size_t dot = name.find('.');
    const std::string_view piece = name.substr(0, dot);
    if (is_number(piece) && out.first.empty()) out.first = piece;
    out.pattern += is_number(piece) ? "*" : std::string(piece);
    if (dot == std::string_view::npos) return out;
    out.pattern += '.';
    name.remove_prefix(dot + 1);
  }
}

// "layers.*.x" as a regular expression; the first number is one of `firsts`, if there are any.
std::string expression(std::string_view pattern, const std::set<std::string>& firsts) {
  std::string out;
  bool first = true;
  for (const char c : pattern) {
    if (c == '.') {
      out += "\\.";
    } else if (c != '*') {
      out += c;
    } else if (first && !firsts.empty()) {
      out += firsts.size() == 1 ? *firsts.begin() : fmt::format("({})", fmt::join(firsts, "|"));
      first = false;
    } else {
      out += "\\d+";
      first = false;
    }
  }
  return out;
}

}  // namespace

void ModuleTargets::add(std::string_view module, ModuleForm form) {
  const ModuleName name = split(module);
  Pattern& pattern = patterns_[name.pattern];
  pattern.forms.insert(form);
  pattern.blocks[name.first].insert(form);
  pattern.modules[form].emplace_back(module);
}

std::vector<std::string> ModuleTargets::of(ModuleForm form) const {
  // By the name without its last component, and the blocks: the last components.
  std::map<std::pair<std::string, std::set<std::string>>, std::vector<std::string>> grouped;
  std::vector<std::string> out;
  for (const auto& [text, pattern] : patterns_) {
    if (!pattern.forms.contains(form)) continue;
    std::set<std::string> blocks;
    bool apart = true;
    if (pattern.forms.size() > 1) {
      for (const auto& [block, forms] : pattern.blocks) {
        if (forms.contains(form)) blocks.insert(block);
        apart = apart && (forms.size() == 1 || !forms.contains(form));
      }
    }
    if (!apart || text.find('.') == std::string::npos) {
      for (const std::string& module : pattern.modules.at(form)) out.push_back(module);
      continue;
    }
    const std::size_t dot = text.rfind('.');
    grouped[{text.substr(0, dot), blocks}].push_back(text.substr(dot + 1));
  }
  for (const auto& [where, leaves] : grouped) {
    std::string prefix = where.first;
    if (prefix.starts_with("model.")) prefix.erase(0, 6);
    out.push_back(fmt::format("re:.*{}\\.{}$", expression(prefix, where.second),
                              leaves.size() == 1 ? leaves[0] : fmt::format("({})", fmt::join(leaves, "|"))));
  }
  return out;
}

}  // namespace outrider
