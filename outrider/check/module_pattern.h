#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace outrider {

// An entry of a quantisation description that names modules: "re:" and a regular expression anchored at the start of
// the name (compressed-tensors), a class name ("Linear"), a glob as in Python's fnmatch (modelopt), or a name.
class ModulePattern {
 public:
  explicit ModulePattern(std::string text);

  const std::string& text() const { return text_; }
  bool invalid() const { return invalid_; }  // not a valid regular expression
  bool is_class() const { return text_ == "Linear"; }
  // Neither a regular expression nor a glob: names one module.
  bool is_name() const { return code_ == nullptr && !invalid_ && !glob_; }
  bool matches(std::string_view module) const;

 private:
  struct Code;
  std::string text_;
  bool invalid_ = false;
  bool glob_ = false;
  std::shared_ptr<const Code> code_;  // compiled
};

// Whether a glob with *, ? and [set] matches a whole text. O(n m).
bool glob_matches(std::string_view glob, std::string_view text);

// Entries that may also name a module which contains others: "mtp.0", "layers.3.ffn.experts", "*.attn".
class ModulePatterns {
 public:
  explicit ModulePatterns(const std::vector<std::string>& entries);

  bool empty() const { return names_.empty() && patterns_.empty(); }
  // The index of the first entry that matches the module or one that contains it, with or without "model.".
  std::optional<std::size_t> find(std::string_view module) const;
  bool contain(std::string_view module) const { return find(module).has_value(); }

 private:
  std::unordered_map<std::string, std::size_t> names_;
  std::vector<std::pair<std::size_t, ModulePattern>> patterns_;
};

}  // namespace outrider
