#include "outrider/cli/commands/check_command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/check/acceptance_causes.h"
#include "outrider/check/check.h"
#include "outrider/check/gguf_check.h"
#include "outrider/check/report.h"
#include "outrider/check/sarif.h"
#include "outrider/cli/commands/acceptance_watch.h"
#include "outrider/cli/commands/probe_prompts.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/decoding/acceptance_probe.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/hub/remote_address.h"
#include "outrider/hub/remote_check.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

struct CheckArguments {
  std::string path;
  std::string reference;
  bool json = false;
  bool sarif = false;
  bool map = false;
  bool data = false;
  bool strict = false;
  bool probe = false;
  bool offline = false;
  std::optional<double> expect_acceptance;
};

unsigned terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return std::min<unsigned>(size.ws_col, 120);
  return 100;
}

// Diagnoses why drafts are rejected; reads the drafter's values if the report does not have them.
std::vector<std::string> causes(const CheckOptions& options, const CheckReport& report) {
  if (options.data) return acceptance_causes(report);
  CheckOptions with_values = options;
  with_values.drafter_data = true;
  with_values.progress = {};
  return acceptance_causes(check_checkpoint(report.checkpoint, with_values));
}

// Judges an MTP block's own head or embedding by its acceptance: one that works was trained on purpose. `usual`: the
// acceptance rate of a drafter that works.
void judge_own_head(CheckReport& report, double usual_rate) {
  const auto differs = std::ranges::find(report.findings, Code::kAliasDiffers, &Finding::id);
  const ProbeSummary& probe = *report.probe;
  if (differs == report.findings.end() || probe.drafts < AcceptanceGuard::kDraftsNeeded) return;
  const std::string accepted =
      fmt::format("{:.0f}% of drafts are accepted ({} of {})", 100 * probe.rate(), probe.accepted, probe.drafts);
  if (probe.rate() < usual_rate) {
    differs->message += fmt::format(". Only {}", accepted);
    return;
  }
  Finding trained{Code::kDrafterOwnHead,
                  fmt::format("{}. It was trained on purpose: {}", differs->message, accepted),
                  std::move(differs->tensors),
                  {}};
  report.findings.erase(differs);
  report.add(std::move(trained));
}

// Runs the model on a few prompts and adds the result to the report.
void probe(const CheckArguments& arguments, const CheckOptions& options, CheckReport& report) {
  if (report.plan == nullptr) return;  // the report says what is missing
  const DrafterMethod* const method = own_drafter_method(report.drafter.kind);
  if (method == nullptr) {
    throw Error(fmt::format("{}: the checkpoint has no MTP block to probe. Leave --probe out.", arguments.path));
  }
  // Enough for a verdict even if every draft is accepted, which makes two tokens per round.
  constexpr std::uint64_t kTokens = 2 + 2 * AcceptanceGuard::kDraftsNeeded / kProbePrompts.size();
  const Tokenizer tokenizer = Tokenizer::open(report.checkpoint->root());
  std::vector<std::vector<TokenId>> prompts;
  for (const std::string_view text : kProbePrompts) prompts.push_back(text_prompt_ids(tokenizer, text));
  const auto model = load_model(report.plan, ModelArguments());
  const auto begin = std::chrono::steady_clock::now();
  const AcceptanceProbe result = probe_acceptance(*model, method->name, prompts, kTokens);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;

  const auto expected = expected_acceptance(*report.plan, arguments.expect_acceptance);
  AcceptanceGuard guard(expected);
  ProbeSummary summary{prompts.size(), result.all.drafts, result.all.accepted_tokens, 1, 0, took.count()};
  for (const SpeculationCounts& counts : result.prompts) {
    summary.lowest = std::min(summary.lowest, counts.acceptance_rate());
    summary.highest = std::max(summary.highest, counts.acceptance_rate());
  }
  for (std::uint64_t i = 0; i < summary.drafts; ++i) guard.add({1, i < summary.accepted ? 1U : 0U}, false);
  report.probe = summary;
  constexpr double kUsualRate = 0.4;  // a sound MTP block reaches 50 to 85%
  if (!guard.suspect()) return judge_own_head(report, std::min(kUsualRate, expected ? expected->rate : kUsualRate));
  std::string message = guard.reason();
  for (const std::string& cause : causes(options, report)) message += " Likely cause: " + cause + ".";
  report.add({Code::kDraftsRejected, std::move(message), {}, {}});
}

void refuse_remote_reference(const CheckArguments& arguments) {
  if (is_remote_address(arguments.reference)) {
    throw Error(
        fmt::format("--reference {}: compares values, which are not read from a server. Download the reference, "
                    "and give its directory.",
                    printable(arguments.reference)));
  }
}

// A remote checkpoint or a GGUF file by its headers, everything else as a checkpoint.
CheckReport check(const CheckArguments& arguments, const CheckOptions& options) {
  if (is_remote_address(arguments.path)) {
    if (arguments.probe) {
      throw Error(
          fmt::format("{}: --probe reads values, and only headers are read from a server. Download the "
                      "checkpoint (`hf download`), and give its directory.",
                      printable(arguments.path)));
    }
    ProgressBar bar("reading headers", ProgressUnit::kItems);
    CheckReport report = check_remote(arguments.path, arguments.offline, options,
                                      [&bar](std::uint64_t done, std::uint64_t all) { bar.show(done, all); });
    bar.clear();
    return report;
  }
  std::optional<CheckReport> gguf = check_gguf(arguments.path, options);
  if (!gguf) return check_path(arguments.path, options);
  if (arguments.probe) {
    throw Error(fmt::format("{}: is a GGUF file, which Outrider does not run. Leave --probe out.", arguments.path));
  }
  return std::move(*gguf);
}

int run_check(const CheckArguments& arguments) {
  refuse_remote_reference(arguments);
  CheckOptions options;
  options.data = arguments.data;
  ThreadPool pool(std::min(usable_processors(), 8U));
  options.pool = &pool;
  if (!arguments.reference.empty()) options.reference = arguments.reference;
  ProgressBar bar(arguments.data ? "reading values" : "comparing");
  if (arguments.data || options.reference) {
    options.progress = [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
  }
  auto owned = std::make_unique<CheckReport>(check(arguments, options));
  CheckReport& report = *owned;
  bar.clear();
  if (arguments.probe) probe(arguments, options, report);
  const bool colour = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  if (arguments.map) {
    fmt::print("{}", parameter_map(report));
  } else if (arguments.sarif) {
    fmt::print("{}", report_sarif(report));
  } else if (arguments.json) {
    fmt::print("{}", report_json(report, arguments.strict));
  } else {
    fmt::print("{}", report_text(report, terminal_width(), colour, arguments.strict));
  }
  const int status = report.exit_status(arguments.strict);
  static_cast<void>(owned.release());  // never freed: the process is about to end, see main()
  return status;
}

}  // namespace

void add_check_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = app.add_subcommand("check", "Verify that a DeepSeek-V4 checkpoint is complete and sound");
  command->footer(
      "Reads config.json, the index and the headers of all files; values only with --data, --reference or --probe.\n"
      "For a model in the Hugging Face cache (models--OWNER--NAME), checks its snapshot.\n"
      "Of hf://OWNER/NAME[@REVISION], or a URL below which the files lie, reads config, index and headers by range\n"
      "requests and nothing else (HF_TOKEN, HF_ENDPOINT, HTTPS_PROXY, OUTRIDER_CACHE; docs/remote.md).\n"
      "Exit status: 0 no errors; 1 findings of severity error; 2 the checkpoint cannot be read.\n"
      "Every finding has a code (OUT001…) with a page under docs/findings/.");
  command
      ->add_option("PATH", arguments->path,
                   "Checkpoint directory, .safetensors file, model.safetensors.index.json, DeepSeek-V4 GGUF file, or "
                   "hf://OWNER/NAME")
      ->required();
  auto* json = command->add_flag("--json", arguments->json, "Print the report as JSON (docs/check-json.md)");
  auto* sarif = command->add_flag("--sarif", arguments->sarif, "Print the findings as SARIF 2.1.0 (docs/recipes.md)");
  sarif->excludes(json);
  command
      ->add_flag("--map", arguments->map, "Print each parameter with its file, tensor and storage form, tab-separated")
      ->excludes(json)
      ->excludes(sarif);
  command->add_flag("--data", arguments->data,
                    "Check values too: NaN, Inf, zeros, faulty scales, duplicate experts, draft heads that differ");
  command->add_option("--reference", arguments->reference, "Source checkpoint to compare with: dtypes, tensors, values")
      ->type_name("DIR");
  command->add_flag("--probe", arguments->probe,
                    "Run the model on a few prompts too, and measure the acceptance of its drafter's tokens");
  add_expect_acceptance_option(*command, arguments->expect_acceptance);
  command->add_flag("--offline", arguments->offline, "Of a remote checkpoint, check what an earlier run has cached");
  command->add_flag("--strict", arguments->strict, "Exit with status 1 on warnings too");
  command->callback([arguments, &status] { status = run_check(*arguments); });
}

}  // namespace outrider
