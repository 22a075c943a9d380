#include "outrider/cli/model_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <thread>
#include <utility>

#include "outrider/cli/progress_bar.h"
#include "outrider/util/memory.h"

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

std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelOptions& options) {
  auto weights = std::make_shared<const Weights>(std::move(plan));
  const std::uint64_t available = available_memory();
  if (weights->mapped_bytes() <= available) {
    ProgressBar bar("loading");
    weights->load([&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  } else {
    constexpr double kGib = 1 << 30;
    fmt::print(
        stderr,
        "outrider: warning: the weights have {:.1f} GiB and {:.1f} GiB of memory are available, so they are read "
        "from the disk again and again. This will be slow.\n",
        static_cast<double>(weights->mapped_bytes()) / kGib, static_cast<double>(available) / kGib);
  }
  return std::make_unique<const Model>(std::move(weights), options);
}

}  // namespace outrider
