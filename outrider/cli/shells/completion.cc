#include "outrider/cli/shells/completion.h"

#include <algorithm>

namespace outrider {
namespace {

constexpr std::string_view kBash = R"(# Completions of outrider for bash; printed by `outrider completion bash`.
_outrider() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}") ;;
      :directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}") ;;
      *) COMPREPLY+=("${line%%$'\t'*}") ;;
    esac
  done < <("${COMP_WORDS[0]/#\~/$HOME}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _outrider outrider
)";

// Loaded from $fpath, the file is the function's first call; sourced, it only registers it.
constexpr std::string_view kZsh = R"(#compdef outrider
# Completions of outrider for zsh; printed by `outrider completion zsh`.
_outrider() {
  local line
  local -a candidates
  for line in "${(@f)$("${(Q)words[1]/#\~/$HOME}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :files) _files ;;
      :directories) _files -/ ;;
      ?*) candidates+=("${${line//:/\\:}/$'\t'/:}") ;;
    esac
  done
  (( $#candidates == 0 )) || _describe outrider candidates
}
if [[ $funcstack[1] == _outrider ]]; then
  _outrider "$@"
else
  compdef _outrider outrider
fi
)";

constexpr std::string_view kFish = R"(# Completions of outrider for fish; printed by `outrider completion fish`.
function __outrider_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  for line in (command $words[1] __complete $words[2..] "$current" 2>/dev/null)
    switch $line
      case :files
        __fish_complete_path "$current"
      case :directories
        __fish_complete_directories "$current"
      case '*'
        echo $line
    end
  end
end
complete -c outrider -f -a '(__outrider_complete)'
)";

const CommandInfo* find_command(const CommandInfo& command, std::string_view name) {
  const auto found = std::ranges::find_if(command.commands, [&](const CommandInfo& c) { return c.name() == name; });
  return found == command.commands.end() ? nullptr : &*found;
}

// An option that a value follows.
const OptionInfo* find_option(const CommandInfo& command, std::string_view name) {
  const auto found = std::ranges::find_if(command.options, [&](const OptionInfo& option) {
    return !option.positional && !option.value.empty() && std::ranges::count(option.names, name) != 0;
  });
  return found == command.options.end() ? nullptr : &*found;
}

class Candidates {
 public:
  explicit Candidates(std::string_view typed) : typed_(typed) {}

  void add(std::string_view candidate, std::string_view description) {
    if (!candidate.starts_with(typed_)) return;
    lines_ += candidate;
    if (!description.empty()) lines_.append("\t").append(description.substr(0, description.find('\n')));
    lines_ += '\n';
  }
  void add_values(const OptionInfo& option) {
    for (const std::string& choice : option.choices) add(choice, "");
    if (option.choices.empty() && option.is_file()) lines_ += option.value == "DIR" ? ":directories\n" : ":files\n";
  }
  void add_options(const CommandInfo& command) {
    for (const OptionInfo& option : command.options) {
      if (option.positional) continue;
      for (const std::string& name : option.names) add(name, option.description);
    }
  }
  const std::string& lines() const { return lines_; }

 private:
  std::string_view typed_;
  std::string lines_;
};

}  // namespace

std::string_view completion_script(std::string_view shell) {
  return shell == "bash" ? kBash : shell == "zsh" ? kZsh : kFish;
}

std::string complete_words(const CommandInfo& program, std::span<char* const> words) {
  if (words.empty()) return "";
  const CommandInfo* command = &program;
  const OptionInfo* option = nullptr;  // whose value is the next word
  for (const std::string_view word : words.first(words.size() - 1)) {
    const CommandInfo* const below = option == nullptr ? find_command(*command, word) : nullptr;
    option = option == nullptr ? find_option(*command, word) : nullptr;
    if (below != nullptr) command = below;
  }
  const std::string_view typed = words.back();
  Candidates out(typed);
  if (option != nullptr) {
    out.add_values(*option);
    return out.lines();
  }
  if (!typed.starts_with('-')) {
    for (const CommandInfo& below : command->commands) out.add(below.name(), below.description);
    const auto positional = std::ranges::find_if(command->options, &OptionInfo::positional);
    if (positional != command->options.end()) out.add_values(*positional);
    if (!command->commands.empty() || positional != command->options.end()) return out.lines();
  }
  out.add_options(*command);
  return out.lines();
}

}  // namespace outrider
