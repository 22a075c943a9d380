#include <fmt/format.h>

#include "outrider/cli/shells/command_tree.h"

namespace outrider {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

// The commands below the program, as __outrider_at compares them.
std::string place_of(const CommandInfo& command) {
  return fmt::format("{}", fmt::join(command.path.begin() + 1, command.path.end(), " "));
}

std::string values_of(const OptionInfo& option) {
  if (!option.choices.empty())
    return fmt::format(" -x -a {}", quoted(fmt::format("{}", fmt::join(option.choices, " "))));
  if (option.value == "DIR") return " -x -a '(__fish_complete_directories)'";
  if (option.is_file()) return " -r -F";
  return option.value.empty() ? "" : " -x";
}

}  // namespace

std::string fish_completion(const CommandInfo& program) {
  std::string places;
  for_each_command(program, [&](const CommandInfo& command) {
    if (command.path.size() > 1) places += " " + quoted(place_of(command));
  });
  std::string out = fmt::format(
      "# Completions of outrider for fish; made by `outrider completion fish`.\n"
      "function __outrider_at --description 'Whether the commands so far are these'\n"
      "  set -l at\n"
      "  for word in (commandline -opc)[2..]\n"
      "    contains -- (string trim -- \"$at $word\"){}; and set at (string trim -- \"$at $word\")\n"
      "  end\n"
      "  test \"$at\" = \"$argv\"\n"
      "end\n"
      "complete -c outrider -f\n",
      places);
  for_each_command(program, [&](const CommandInfo& command) {
    const std::string here = fmt::format("complete -c outrider -n {}", quoted("__outrider_at " + place_of(command)));
    for (const CommandInfo& below : command.commands) {
      out += fmt::format("{} -a {} -d {}\n", here, below.name(), quoted(below.description));
    }
    for (const OptionInfo& option : command.options) {
      out += here;
      if (option.positional) {
        out += values_of(option) + "\n";
        continue;
      }
      for (const std::string& name : option.names) {
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      out += fmt::format("{} -d {}\n", values_of(option), quoted(option.description));
    }
  });
  return out;
}

}  // namespace outrider
