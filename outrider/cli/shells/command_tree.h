#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace outrider {

// What there is to say of the program's commands, for completions and the manual page. Hidden commands and options are
// left out.
struct OptionInfo {
  std::vector<std::string> names;  // "-p", "--prompt"; a positional's name as it is ("MODEL")
  std::string description;
  std::string value;                 // "TEXT", "UINT", "FILE"…; empty: a flag
  std::vector<std::string> choices;  // the values it takes, where they are few
  std::string default_value;
  bool positional = false;
  bool repeats = false;  // takes several values

  bool is_file() const { return value == "FILE" || value == "DIR"; }
};

struct CommandInfo {
  std::vector<std::string> path;  // "outrider", "bench", "serve"
  std::string description;
  std::string footer;
  std::vector<OptionInfo> options;
  std::vector<CommandInfo> commands;

  std::string name() const { return path.back(); }
};

CommandInfo describe_commands(const CLI::App& app);

// `visit` is called with `command` and everything below it.
template <typename Visit>
void for_each_command(const CommandInfo& command, const Visit& visit) {
  visit(command);
  for (const CommandInfo& below : command.commands) for_each_command(below, visit);
}

// The manual page, section 1, in man(7)'s language.
std::string man_page(const CommandInfo& program, const std::string& version);

}  // namespace outrider
