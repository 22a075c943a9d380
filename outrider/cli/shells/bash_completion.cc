#include <fmt/format.h>

#include "outrider/cli/shells/command_tree.h"

namespace outrider {
namespace {

// Function and case labels: "outrider bench serve".
std::string label(const CommandInfo& command) {
  return fmt::format("{}", fmt::join(command.path, " "));
}

std::string words_of(const CommandInfo& command) {
  std::string words;
  for (const CommandInfo& below : command.commands) words += below.name() + " ";
  for (const OptionInfo& option : command.options) {
    if (!option.positional) words += fmt::format("{} ", fmt::join(option.names, " "));
  }
  if (!words.empty()) words.pop_back();
  return words;
}

// The case that completes what follows an option, or stands for a positional argument.
std::string values_of(const OptionInfo& option) {
  if (!option.choices.empty()) {
    return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$current\"))", fmt::join(option.choices, " "));
  }
  if (option.value == "DIR") return "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$current\"))";
  if (option.is_file()) return "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$current\"))";
  return "COMPREPLY=()";
}

}  // namespace

std::string bash_completion(const CommandInfo& program) {
  std::string out =
      "# Completions of outrider for bash; made by `outrider completion bash`.\n"
      "_outrider() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=outrider i\n"
      "  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"$command ${COMP_WORDS[i]}\" in\n";
  for_each_command(program, [&](const CommandInfo& command) {
    if (command.path.size() > 1) {
      out += fmt::format("      '{}') command='{}' ;;\n", label(command), label(command));
    }
  });
  out += "    esac\n  done\n  case \"$command $previous\" in\n";
  for_each_command(program, [&](const CommandInfo& command) {
    for (const OptionInfo& option : command.options) {
      if (option.positional || option.value.empty()) continue;
      std::string patterns;
      for (const std::string& name : option.names) {
        patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : "|", label(command), name);
      }
      out += fmt::format("    {}) {}; return ;;\n", patterns, values_of(option));
    }
  });
  out += "  esac\n  if [[ $current != -* ]]; then\n    case \"$command\" in\n";
  for_each_command(program, [&](const CommandInfo& command) {
    for (const OptionInfo& option : command.options) {
      if (!option.positional) continue;
      out += fmt::format("      '{}') {}; return ;;\n", label(command), values_of(option));
      break;
    }
  });
  out += "    esac\n  fi\n  case \"$command\" in\n";
  for_each_command(program, [&](const CommandInfo& command) {
    out +=
        fmt::format("    '{}') COMPREPLY=($(compgen -W '{}' -- \"$current\")) ;;\n", label(command), words_of(command));
  });
  return out + "  esac\n}\ncomplete -F _outrider outrider\n";
}

}  // namespace outrider
