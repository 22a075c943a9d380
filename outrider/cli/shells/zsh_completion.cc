#include <fmt/format.h>

#include "outrider/cli/shells/command_tree.h"

namespace outrider {
namespace {

std::string function_name(const CommandInfo& command) {
  return fmt::format("_{}", fmt::join(command.path, "_"));
}

// Text within single quotes, in which `special` mean something to _arguments or _describe.
std::string quoted(const std::string& text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (c == '\\' || special.find(c) != std::string_view::npos) out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string action_of(const OptionInfo& option) {
  if (!option.choices.empty()) return fmt::format("({})", fmt::join(option.choices, " "));
  if (option.value == "DIR") return "_files -/";
  return option.is_file() ? "_files" : " ";
}

std::string argument_of(const OptionInfo& option) {
  if (option.positional) {
    return fmt::format("'{}:{}:{}'", option.repeats ? "*" : "", quoted(option.names[0], ":"), action_of(option));
  }
  const std::string text = quoted(option.description, "[]:");
  const std::string value =
      option.value.empty() ? "" : fmt::format(":{}:{}", quoted(option.value, ":"), action_of(option));
  if (option.names.size() == 1) {
    return fmt::format("'{}{}[{}]{}'", option.repeats ? "*" : "", option.names[0], text, value);
  }
  return fmt::format("'({0})'{{{1}}}'[{2}]{3}'", fmt::join(option.names, " "), fmt::join(option.names, ","), text,
                     value);
}

std::string function_of(const CommandInfo& command) {
  std::string out = fmt::format("\n{}() {{\n", function_name(command));
  if (!command.commands.empty()) out += "  local context state state_descr line\n  typeset -A opt_args\n";
  out += command.commands.empty() ? "  _arguments -S" : "  _arguments -S -C";
  for (const OptionInfo& option : command.options) out += " \\\n    " + argument_of(option);
  if (command.commands.empty()) return out + "\n}\n";
  out +=
      " \\\n    '1:command:->command' \\\n    '*::argument:->argument'\n  case $state in\n    command)\n      local -a "
      "commands=(\n";
  for (const CommandInfo& below : command.commands) {
    out += fmt::format("        '{}:{}'\n", below.name(), quoted(below.description, ":"));
  }
  out += "      )\n      _describe command commands\n      ;;\n    argument)\n      case $line[1] in\n";
  for (const CommandInfo& below : command.commands) {
    out += fmt::format("        {}) {} ;;\n", below.name(), function_name(below));
  }
  return out + "      esac\n      ;;\n  esac\n}\n";
}

}  // namespace

std::string zsh_completion(const CommandInfo& program) {
  std::string out = "#compdef outrider\n# Completions of outrider for zsh; made by `outrider completion zsh`.\n";
  for_each_command(program, [&](const CommandInfo& command) { out += function_of(command); });
  // Loaded from $fpath, the file is the function's first call; sourced, it only registers it.
  return out +
         "\nif [[ $funcstack[1] == _outrider ]]; then\n  _outrider \"$@\"\nelse\n  compdef _outrider outrider\nfi\n";
}

}  // namespace outrider
