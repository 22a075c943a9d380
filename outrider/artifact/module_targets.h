#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/storage_forms/storage_form.h"

namespace outrider {

// The storage of a module, as far as config_groups distinguish it.
struct ModuleForm {
  StorageForm form = StorageForm::kPlain;
  std::uint32_t group_size = 0;

  friend auto operator<=>(const ModuleForm&, const ModuleForm&) = default;
};

// Finds the fewest entries of compressed-tensors' targets that separate the modules of one form from all others.
class ModuleTargets {
 public:
  void add(std::string_view module, ModuleForm form);
  // Names, and regular expressions after "re:".
  std::vector<std::string> of(ModuleForm form) const;

 private:
  struct Pattern {
    std::set<ModuleForm> forms;
    std::map<std::string, std::set<ModuleForm>> blocks;  // by first number
    std::map<ModuleForm, std::vector<std::string>> modules;
  };
  std::map<std::string, Pattern> patterns_;
};

}  // namespace outrider
