#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "outrider/check/sarif.h"
#include "outrider/cli/commands/bench_command.h"
#include "outrider/cli/commands/check_command.h"
#include "outrider/cli/commands/completion_command.h"
#include "outrider/cli/commands/convert_command.h"
#include "outrider/cli/commands/generate_command.h"
#include "outrider/cli/commands/logits_command.h"
#include "outrider/cli/commands/make_model_command.h"
#include "outrider/cli/commands/parameters_command.h"
#include "outrider/cli/commands/preflight_command.h"
#include "outrider/cli/commands/quantize_command.h"
#include "outrider/cli/commands/repair_command.h"
#include "outrider/cli/commands/serve_command.h"
#include "outrider/cli/heap/heap.h"
#include "outrider/cli/shells/command_tree.h"
#include "outrider/cli/shells/command_words.h"
#include "outrider/cli/shells/completion.h"
#include "outrider/cli/terminal/flush_output.h"
#include "outrider/cli/terminal/open_standard_streams.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/files/bus_error.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace {

struct Command {
  std::string_view name;
  void (*add)(CLI::App& app, int& status);
};
constexpr Command kCommands[] = {
    {"check", outrider::add_check_command},           {"repair", outrider::add_repair_command},
    {"convert", outrider::add_convert_command},       {"quantize", outrider::add_quantize_command},
    {"generate", outrider::add_generate_command},     {"logits", outrider::add_logits_command},
    {"serve", outrider::add_serve_command},           {"bench", outrider::add_bench_command},
    {"make-model", outrider::add_make_model_command}, {"preflight", outrider::add_preflight_command},
};

// The command that the command line begins with: describing the options of all commands takes longer than some commands
// run. Otherwise all of them, for help, errors and completions.
std::span<const Command> commands_for(int argc, char** argv) {
  for (const Command& command : kCommands) {
    if (argc > 1 && command.name == argv[1]) return {&command, 1};
  }
  return kCommands;
}

// Throws Error if the command line names no command, or an unknown one.
void require_command(const CLI::App& app, std::span<char* const> words) {
  const CLI::App* at = &app;
  std::string path = app.get_name();
  for (std::size_t i = 1;; ++i) {
    const bool missing = i == words.size();
    const auto commands = at->get_subcommands([](const CLI::App*) { return true; });
    if (commands.empty() || (!missing && words[i][0] == '-')) return;
    const auto found = std::ranges::find_if(
        commands, [&](const CLI::App* command) { return !missing && command->get_name() == words[i]; });
    if (found == commands.end()) {
      std::vector<std::string> names;
      for (const CLI::App* command : commands) {
        if (!command->get_group().empty()) names.push_back(command->get_name());
      }
      throw outrider::Error(fmt::format("{}. `{}` has the commands {}; `{} --help` describes them.",
                                        missing ? std::string("A command is missing")
                                                : fmt::format("\"{}\" is not a command", outrider::printable(words[i])),
                                        path, fmt::join(names, ", "), path));
    }
    at = *found;
    path += " " + at->get_name();
  }
}

// The arguments that the command does not accept, in the order given.
std::string unexpected_words(const CLI::App& app) {
  const CLI::App* command = &app;
  std::string path = app.get_name();
  for (auto below = app.get_subcommands(); !below.empty(); below = command->get_subcommands()) {
    command = below[0];
    path += " " + command->get_name();
  }
  std::vector<std::string> words;
  for (const std::string& word : app.remaining(true)) words.push_back(outrider::printable(word));
  return fmt::format("`{}` does not accept {}. `{} --help` lists its options.", path, fmt::join(words, " "), path);
}

// Prints a failure as JSON or SARIF for a caller that asked for it: standard output stays one object. For `check` it
// has the keys of every report.
void print_failure(std::span<char* const> words, const std::string& message) {
  const auto is = [](std::string_view what) { return [what](const char* word) { return word == what; }; };
  if (std::ranges::any_of(words, is("--sarif"))) {
    const std::string text = outrider::failure_sarif(message);
    std::fwrite(text.data(), 1, text.size(), stdout);
    return;
  }
  if (std::ranges::none_of(words, is("--json"))) return;
  nlohmann::ordered_json out;
  if (words.size() > 1 && is("check")(words[1])) {
    out = {{"schema_version", 1}, {"exit_status", 2}, {"sound", false}, {"complete", false}};
    out["findings"] = nlohmann::ordered_json::array();
  } else {
    out = {{"exit_status", 2}};
  }
  out["error"] = message;
  const std::string text = out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

constexpr int kTryAgain = 75;  // EX_TEMPFAIL of sysexits.h

bool may_succeed_later(const std::exception& error) {
  if (dynamic_cast<const outrider::TemporaryError*>(&error) != nullptr) return true;
  const auto* const system = dynamic_cast<const std::system_error*>(&error);  // a thread cannot be started
  return system != nullptr && system->code() == std::errc::resource_unavailable_try_again;
}

int run(int argc, char** argv) {
  // Never destroyed: it lives as long as the process.
  CLI::App& app = *new CLI::App(
      "Outrider: an inference engine for DeepSeek-V4 that never runs a checkpoint it has not loaded completely",
      "outrider");
  app.set_version_flag("--version", "outrider " OUTRIDER_VERSION);
  app.require_subcommand(1);
  int status = 0;
  const std::span<const Command> commands = commands_for(argc, argv);
  for (const Command& command : commands) command.add(app, status);
  if (commands.size() > 1) {
    outrider::add_completion_command(app, status);
    outrider::add_parameters_command(app);
  }
  if (argc > 1 && std::string_view(argv[1]) == "__complete") {
    fmt::print("{}", outrider::complete_words(outrider::describe_commands(app), {argv + 2, argv + argc}));
    outrider::flush_output();
    return 0;
  }
  try {
    require_command(app, {argv, static_cast<std::size_t>(argc)});
    std::vector<std::string> words = outrider::command_words(app, {argv + 1, argv + std::max(argc, 1)});
    std::ranges::reverse(words);  // CLI11 expects them reversed
    app.parse(std::move(words));
  } catch (const CLI::ExtrasError&) {
    throw outrider::Error(unexpected_words(app));
  } catch (const CLI::ParseError& e) {
    // Help and version exit with 0, a wrong command line with 2.
    if (app.exit(e) != 0) {
      status = 2;
      print_failure({argv, static_cast<std::size_t>(argc)}, e.what());
    }
  }
  outrider::flush_output();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  outrider::open_standard_streams();
  outrider::prepare_heap();
  outrider::explain_bus_errors();
  int status = 2;
  try {
    status = run(argc, argv);
  } catch (const std::exception& e) {
    const bool out_of_memory = dynamic_cast<const std::bad_alloc*>(&e) != nullptr;
    const char* const message = out_of_memory ? "There is not enough memory now. Try again later." : e.what();
    if (out_of_memory || may_succeed_later(e)) status = kTryAgain;
    outrider::tell("outrider: {}\n", message);
    print_failure({argv, static_cast<std::size_t>(argc)}, message);
  }
  // Exits without destructors: the system frees everything at once, and threads that still wait for work lose nothing
  // under them.
  std::fflush(nullptr);
  std::_Exit(status);
}
