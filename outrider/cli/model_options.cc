#include "outrider/cli/model_options.h"

#include <algorithm>
#include <thread>

namespace outrider {

ModelOptions ModelArguments::options() const {
  ModelOptions options;
  options.mode = mode == "exact" ? NumericMode::kExact : NumericMode::kOfficial;
  options.threads = threads != 0 ? threads : std::clamp(std::thread::hardware_concurrency(), 1U, 256U);
  return options;
}

void add_model_options(CLI::App& command, ModelArguments& arguments) {
  command
      .add_option("--mode", arguments.mode,
                  "official: rounds as the release's code does; exact: float, nothing rounded")
      ->check(CLI::IsMember({"official", "exact"}))
      ->capture_default_str();
  command.add_option("--chunk", arguments.chunk, "Tokens of the prompt a pass; does not change the result")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
      ->capture_default_str();
  command.add_option("--threads", arguments.threads, "Threads; default: as many as the machine has")
      ->check(CLI::Range(1U, 256U));
}

}  // namespace outrider
