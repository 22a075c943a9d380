#include "outrider/cli/shells/command_tree.h"

#include <algorithm>
#include <sstream>

namespace outrider {
namespace {

// CLI11 appends what the checks say to the type: "TEXT:{official,exact}", "UINT:INT in [1 - 256]".
std::vector<std::string> choices_of(const std::string& type) {
  std::vector<std::string> out;
  const std::size_t open = type.find('{');
  const std::size_t close = type.find('}', std::min(open, type.size()));
  if (open == std::string::npos || close == std::string::npos) return out;
  std::istringstream list(type.substr(open + 1, close - open - 1));
  for (std::string choice; std::getline(list, choice, ',');) out.push_back(choice);
  return out;
}

OptionInfo describe(const CLI::Option& option) {
  OptionInfo info;
  info.description = option.get_description();
  info.default_value = option.get_default_str();
  info.positional = option.get_positional();
  info.repeats = option.get_items_expected_max() > 1;
  if (info.positional) {
    info.names = {option.get_name(true)};
  } else {
    for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  }
  if (option.get_items_expected_max() == 0) return info;
  const std::string type = option.get_type_name();
  info.choices = choices_of(type);
  info.value = type.substr(0, type.find_first_of(":{ "));
  if (info.value.empty()) info.value = "TEXT";
  if (info.positional && info.choices.empty()) info.value = "FILE";
  return info;
}

CommandInfo describe(const CLI::App& app, std::vector<std::string> path) {
  CommandInfo info;
  path.push_back(app.get_name());
  info.path = path;
  info.description = app.get_description();
  info.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) info.options.push_back(describe(*option));
  }
  std::ranges::stable_sort(info.options, std::ranges::greater{}, &OptionInfo::positional);
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) info.commands.push_back(describe(*command, path));
  }
  return info;
}

}  // namespace

CommandInfo describe_commands(const CLI::App& app) {
  return describe(app, {});
}

}  // namespace outrider
