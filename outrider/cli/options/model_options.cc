#include "outrider/cli/options/model_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/util/error.h"
#include "outrider/util/memory.h"
#include "outrider/util/memory_nodes.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

std::string_view name_of(DrafterKind kind) {
  return kind == DrafterKind::kMtp ? "an MTP block" : kind == DrafterKind::kDspark ? "a DSpark drafter" : "no drafter";
}

// As many as its block has rows.
std::size_t drafts_of_dspark(const CompletePlan& plan) {
  return std::clamp<std::size_t>(plan.manifest().config().dspark->block_size, 1, kMaxSpeculativeTokens);
}

}  // namespace

ModelOptions ModelArguments::options() const {
  ModelOptions options;
  options.mode = numeric_mode(mode);
  options.threads = threads != 0 ? threads : std::min(usable_processors(), 256U);
  options.pinning = no_pinning ? ThreadPool::Pinning::kNone : ThreadPool::Pinning::kOwnProcessor;
  return options;
}

void add_mode_option(CLI::App& command, std::string& mode) {
  command
      .add_option(
          "--mode", mode,
          "Numeric mode: official (rounds as the release's code does), fast (rounds activations of 4-bit weights "
          "to 8 bits) or exact (float, no rounding)")
      ->check(CLI::IsMember(std::vector<std::string>(kModeNames.begin(), kModeNames.end())))
      ->capture_default_str();
}

void add_model_options(CLI::App& command, ModelArguments& arguments) {
  add_mode_option(command, arguments.mode);
  command.add_option("--threads", arguments.threads, "Number of threads; default: all of the machine's")
      ->check(CLI::Range(1U, 256U));
  command.add_flag("--no-thread-pinning", arguments.no_pinning,
                   "Let the system move threads; by default, one for each processor stays on it");
  command
      .add_option("--numa", arguments.numa,
                  "Where a machine has several memory nodes: interleave (spread the weights over all) or off")
      ->check(CLI::IsMember({"interleave", "off"}))
      ->capture_default_str();
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
    asked.num_speculative_tokens = held == DrafterKind::kDspark ? drafts_of_dspark(plan) : kAutomaticTokens;
    asked.automatic = true;
  }
  if (config.empty()) return asked;
  asked = parse_speculative_config(config, path, note);
  const DrafterMethod* const method = drafter_method(asked, held);
  if (drafter_is_trained(asked) && (method == nullptr || method->weights != held)) {
    throw Error(
        fmt::format("{}: --speculative-config requires {}, but the checkpoint has {}. Leave it out to run the model "
                    "{}, or draft from "
                    "the context with {{\"method\": \"ngram\", \"num_speculative_tokens\": 3}}.",
                    path, name_of(method == nullptr ? DrafterKind::kNone : method->weights), name_of(held),
                    held == DrafterKind::kNone ? "without speculation" : "with the drafter that it has"));
  }
  if (method != nullptr && method->weights == DrafterKind::kDspark && asked.automatic) {
    asked.num_speculative_tokens = drafts_of_dspark(plan);
  }
  return asked;
}

void add_speculation_options(CLI::App& command, SpeculationArguments& arguments) {
  auto* config =
      command
          .add_option(
              "--speculative-config", arguments.config,
              R"(Speculation settings, JSON: {"method": "mtp", "dspark" or "ngram", "num_speculative_tokens": 1..8 or "auto"})")
          ->check([](const std::string& json) { return json.empty() ? "an empty string is not JSON" : ""; });
  command.add_flag("--no-speculation", arguments.none, "Disable speculation and do not load the drafter")
      ->excludes(config);
}

std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelArguments& arguments,
                                        OperationTimes* times) {
  auto weights = std::make_shared<const Weights>(std::move(plan));
  std::optional<InterleavedMemory> interleaved;
  if (arguments.numa == "interleave" && memory_nodes().size() > 1) {
    interleaved.emplace();
    if (!interleaved->failure().empty()) {
      tell(
          "outrider: warning: the weights cannot be spread over this machine's {} memory nodes ({}). This will be "
          "slow. "
          "In a container, allow it (Docker: --cap-add SYS_NICE), or set --numa off.\n",
          memory_nodes().size(), interleaved->failure());
    }
  }
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
  ModelOptions options = arguments.options();
  options.times = times;
  return make_model(std::move(weights), options);
}

}  // namespace outrider
