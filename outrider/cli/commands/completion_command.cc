#include "outrider/cli/commands/completion_command.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "outrider/cli/options/vllm_flags.h"
#include "outrider/cli/shells/command_tree.h"
#include "outrider/cli/shells/completion.h"

namespace outrider {

void add_completion_command(CLI::App& app, int& status) {
  CLI::App* completion = app.add_subcommand("completion", "Print completions for a shell");
  completion->footer(
      "For this session:  source <(outrider completion bash)\n"
      "                   outrider completion fish | source\n"
      "Packages install them where the shells look.");
  auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([shell, &status] {
    fmt::print("{}", completion_script(*shell));
    status = 0;
  });
  CLI::App* man = app.add_subcommand("man-page", "Print the manual page")->group("");
  man->callback([&app, &status] {
    fmt::print("{}", man_page(describe_commands(app), OUTRIDER_VERSION));
    status = 0;
  });
  CLI::App* flags = app.add_subcommand("vllm-flags", "Print what becomes of vLLM's flags")->group("");
  flags->callback([&status] {
    fmt::print("{}", vllm_flags_markdown());
    status = 0;
  });
}

}  // namespace outrider
