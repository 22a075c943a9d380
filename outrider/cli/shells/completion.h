#pragma once

#include <span>
#include <string>
#include <string_view>

#include "outrider/cli/shells/command_tree.h"

namespace outrider {

// The script that a shell ("bash", "zsh" or "fish") sources to complete the program's commands: it asks the hidden
// `outrider __complete WORDS...`, so it cannot lack an option.
std::string_view completion_script(std::string_view shell);

// What `outrider __complete` prints for the words that follow the program's name, the last of which is being typed and
// may be empty: a line for each candidate, with a tab and its description where there is one; or one line ":files" or
// ":directories" where the shell completes paths.
std::string complete_words(const CommandInfo& program, std::span<char* const> words);

}  // namespace outrider
