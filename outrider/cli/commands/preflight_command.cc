#include "outrider/cli/commands/preflight_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr const char* kModule = "outrider.audit.preflight";

struct PreflightArguments {
  std::string directory;
  std::string engine = "vllm";
  int pipeline_parallel_size = 1;
  int tensor_parallel_size = 1;
  bool enable_expert_parallel = false;
  std::string speculative_config;
  bool no_drafter = false;
  std::string dtype;
  std::string compute_capability;
  bool trust_remote_code = false;
  bool untested_version = false;
  bool json = false;
  bool verbose = false;
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

// Whether an interpreter finds the module. Its own messages are not shown.
bool has_module(const std::string& python) {
  std::vector<std::string> words = {python, "-c",
                                    "import importlib.util as u, sys; sys.exit(not u.find_spec('outrider.audit'))"};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, python.c_str(), &quiet, nullptr, pointers(words).data(), environ);
  posix_spawn_file_actions_destroy(&quiet);
  int status = 0;
  return failed == 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// $OUTRIDER_PYTHON alone if it is set; otherwise the interpreter beside the program, as pip installs both, then
// python3.
std::string find_python() {
  if (const char* chosen = std::getenv("OUTRIDER_PYTHON"); chosen != nullptr && *chosen != '\0') {
    if (has_module(chosen)) return chosen;
    throw Error(
        fmt::format("OUTRIDER_PYTHON is {}, which does not run or has no outrider.audit. Install it there: "
                    "`{} -m pip install 'outrider[vllm]'`.",
                    printable(chosen, 4096), printable(chosen, 4096)));
  }
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  for (const std::string& python : {(program.parent_path() / "python").string(), std::string("python3")}) {
    if (has_module(python)) return python;
  }
  throw Error(
      "preflight runs vLLM's own loader, which is Python, and no Python here has it. Install it: `pip install "
      "'outrider[vllm]'`, or set OUTRIDER_PYTHON to the interpreter that has it.");
}

std::vector<std::string> module_words(const PreflightArguments& arguments, std::string python) {
  std::vector<std::string> words = {std::move(python), "-m", kModule, "--engine=" + arguments.engine};
  const auto value = [&](const char* flag, const std::string& text) {
    if (!text.empty()) words.push_back(fmt::format("{}={}", flag, text));
  };
  const auto flag = [&](const char* name, bool given) {
    if (given) words.emplace_back(name);
  };
  value("--pipeline-parallel-size", std::to_string(arguments.pipeline_parallel_size));
  value("--tensor-parallel-size", std::to_string(arguments.tensor_parallel_size));
  value("--speculative-config", arguments.speculative_config);
  value("--dtype", arguments.dtype);
  value("--compute-capability", arguments.compute_capability);
  flag("--enable-expert-parallel", arguments.enable_expert_parallel);
  flag("--no-drafter", arguments.no_drafter);
  flag("--trust-remote-code", arguments.trust_remote_code);
  flag("--untested-version", arguments.untested_version);
  flag("--json", arguments.json);
  flag("--verbose", arguments.verbose);
  words.emplace_back("--");
  words.push_back(arguments.directory);
  return words;
}

[[noreturn]] void run_preflight(const PreflightArguments& arguments) {
  std::vector<std::string> words = module_words(arguments, find_python());
  std::fflush(nullptr);
  execvp(words[0].c_str(), pointers(words).data());
  throw Error(fmt::format("{} cannot be run: {}", printable(words[0], 4096), std::strerror(errno)));
}

}  // namespace

void add_preflight_command(CLI::App& app, int& /*status*/) {
  auto arguments = std::make_shared<PreflightArguments>();
  CLI::App* command =
      app.add_subcommand("preflight", "Show what vLLM's own loader would leave unloaded, without a GPU");
  command->footer(
      "Builds vLLM's classes on the meta device and feeds them the headers (docs/audit.md). Needs Python with "
      "outrider[vllm]:\n"
      "$OUTRIDER_PYTHON, the interpreter beside this program, or python3.\n"
      "Exit status: 0 sound; 1 findings; 2 it could not be found out.");
  command->add_option("DIR", arguments->directory, "Directory with config.json and safetensors files")->required();
  command->add_option("--engine", arguments->engine, "Engine whose loader is asked")
      ->check(CLI::IsMember({"vllm"}))
      ->capture_default_str();
  command->add_option("--pipeline-parallel-size", arguments->pipeline_parallel_size, "Number of pipeline stages")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--tensor-parallel-size", arguments->tensor_parallel_size, "Number of tensor parallel ranks")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_flag("--enable-expert-parallel", arguments->enable_expert_parallel, "Spread experts over the ranks");
  command
      ->add_option("--speculative-config", arguments->speculative_config,
                   "As vllm serve's; default: the artifact's own drafter, if it has one")
      ->type_name("JSON");
  command->add_flag("--no-drafter", arguments->no_drafter, "Load the model alone");
  command->add_option("--dtype", arguments->dtype, "Dtype of the model, as vllm serve's");
  command->add_option("--compute-capability", arguments->compute_capability, "Of the GPU that is claimed; default: 9.0")
      ->type_name("X.Y");
  command->add_flag("--trust-remote-code", arguments->trust_remote_code, "As vllm serve's");
  command->add_flag("--untested-version", arguments->untested_version, "Try a version of vLLM that is not known");
  command->add_flag("--json", arguments->json, "Print the report as JSON");
  command->add_flag("--verbose", arguments->verbose, "Print vLLM's own messages on standard error");
  command->callback([arguments] { run_preflight(*arguments); });
}

}  // namespace outrider
