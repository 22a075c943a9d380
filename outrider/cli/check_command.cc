#include "outrider/cli/check_command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "outrider/check/check.h"
#include "outrider/check/report.h"
#include "outrider/cli/progress_bar.h"

namespace outrider {
namespace {

struct Arguments {
  std::string path;
  std::string reference;
  bool json = false;
  bool map = false;
  bool data = false;
  bool strict = false;
};

unsigned terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return std::min<unsigned>(size.ws_col, 120);
  return 100;
}

int run(const Arguments& arguments) {
  CheckOptions options;
  options.data = arguments.data;
  options.threads = std::clamp(std::thread::hardware_concurrency(), 1U, 8U);
  if (!arguments.reference.empty()) options.reference = arguments.reference;
  ProgressBar bar(arguments.data ? "reading values" : "comparing");
  if (arguments.data || options.reference) {
    options.progress = [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
  }
  // Never freed: the process is about to end, see main().
  const CheckReport& report = *new CheckReport(check_path(arguments.path, options));
  bar.clear();
  const bool colour = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  if (arguments.map) {
    fmt::print("{}", parameter_map(report));
  } else if (arguments.json) {
    fmt::print("{}", report_json(report, arguments.strict));
  } else {
    fmt::print("{}", report_text(report, terminal_width(), colour, arguments.strict));
  }
  return report.exit_status(arguments.strict);
}

}  // namespace

void add_check_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("check", "Prove what a DeepSeek-V4 checkpoint contains, and what it lacks");
  command->footer(
      "Reads config.json, the index and the headers of all files; values only with --data or --reference.\n"
      "Exit status: 0 sound; 1 findings of severity error; 2 something could not be read.\n"
      "Every finding has a code (OUT001…) with a page under docs/findings/.");
  command->add_option("PATH", arguments->path, "Directory, .safetensors file or model.safetensors.index.json")
      ->required();
  auto* json = command->add_flag("--json", arguments->json, "Print the report as JSON (docs/check-json.md)");
  command
      ->add_flag("--map", arguments->map, "Print each parameter with its file, tensor and storage form, tab-separated")
      ->excludes(json);
  command->add_flag("--data", arguments->data, "Read values too: NaN, Inf, zeros, faulty scales, aliases that differ");
  command
      ->add_option("--reference", arguments->reference, "Compare with this source checkpoint: dtypes, tensors, values")
      ->type_name("DIR");
  command->add_flag("--strict", arguments->strict, "Exit with 1 on warnings too");
  command->callback([arguments, &status] { status = run(*arguments); });
}

}  // namespace outrider
