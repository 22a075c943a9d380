#include "outrider/cli/options/model_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/util/error.h"
#include "outrider/util/memory.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

ModelOptions ModelArguments::options() const {
  ModelOptions options;
  options.mode = mode == "exact" ? NumericMode::kExact : NumericMode::kOfficial;
  options.threads = threads != 0 ? threads : std::min(usable_processors(), 256U);
  return options;
}

void add_model_options(CLI::App& command, ModelArguments& arguments) {
  command
      .add_option("--mode", arguments.mode,
                  "Numeric mode: official (rounds as the release's code does) or exact (float, no rounding)")
      ->check(CLI::IsMember({"official", "exact"}))
      ->capture_default_str();
  command.add_option("--threads", arguments.threads, "Number of threads; default: all of the machine's")
      ->check(CLI::Range(1U, 256U));
}

void add_chunk_option(CLI::App& command, std::size_t& chunk) {
  command.add_option("--chunk", chunk, "Number of prompt tokens per pass; does not change the result")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
      ->capture_default_str();
}

void SpeculationArguments::tell_note(const std::string& note) {
  tell("outrider: {}\n", note);
}

DrafterLoading SpeculationArguments::drafter(const std::string& path) const {
  if (none) return DrafterLoading::kSkip;
  if (config.empty()) return DrafterLoading::kLoad;
  const SpeculativeConfig asked = parse_speculative_config(config, path, [](const std::string&) {});
  return drafter_is_trained(asked) ? DrafterLoading::kLoad : DrafterLoading::kSkip;
}

SpeculativeConfig SpeculationArguments::speculative_config(const CompletePlan& plan, const std::string& path,
                                                           const std::function<void(const std::string&)>& note) const {
  if (none) return {};
  const DrafterKind held = plan.manifest().drafter();
  SpeculativeConfig asked;
  if (own_drafter_method(held) != nullptr) {
    asked.num_speculative_tokens = kAutomaticTokens;
    asked.automatic = true;
  }
  if (config.empty()) return asked;
  asked = parse_speculative_config(config, path, note);
  const DrafterMethod* const method = drafter_method(asked, held);
  if (!drafter_is_trained(asked) || (method != nullptr && method->weights == held)) return asked;
  throw Error(fmt::format(
      "{}: --speculative-config requires a drafter, but {}. Leave it out to run the model without "
      "speculation, or draft from the context with {{\"method\": \"ngram\", \"num_speculative_tokens\": 3}}.",
      path,
      held == DrafterKind::kDspark ? "mtp.* holds a DSpark drafter, which is not an MTP block and is not supported"
                                   : "the checkpoint has no MTP block"));
}

void add_speculation_options(CLI::App& command, SpeculationArguments& arguments) {
  auto* config =
      command
          .add_option(
              "--speculative-config", arguments.config,
              R"(Speculation settings, JSON: {"method": "mtp" or "ngram", "num_speculative_tokens": 1..8 or "auto"})")
          ->check([](const std::string& json) { return json.empty() ? "an empty string is not JSON" : ""; });
  command.add_flag("--no-speculation", arguments.none, "Disable speculation and do not load the drafter")
      ->excludes(config);
}

std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelOptions& options) {
  auto weights = std::make_shared<const Weights>(std::move(plan));
  const std::uint64_t available = available_memory();
  if (weights->mapped_bytes() <= available) {
    ProgressBar bar("loading");
    weights->load([&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  } else {
    constexpr double kGib = 1 << 30;
    tell(
        "outrider: warning: the weights take {:.1f} GiB, but only {:.1f} GiB of memory are available, so they are read "
        "from disk again and again. This will be slow.\n",
        static_cast<double>(weights->mapped_bytes()) / kGib, static_cast<double>(available) / kGib);
  }
  return make_model(std::move(weights), options);
}

}  // namespace outrider
