#include "outrider/cli/commands/make_model_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/manifest/architecture.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

struct MakeModelArguments {
  std::string directory;
  std::string like = "flash";
  std::string form = "official";
  std::size_t layers = 0;
  std::uint64_t experts = 0;
  std::vector<std::string> drop;
  synthetic::SyntheticOptions options;
  bool sparse = false;
  bool no_mtp = false;
};

// Reduces the number of layers or experts, keeping their sizes; 0: unchanged.
std::string with_sizes(const std::string& text, std::size_t layers, std::uint64_t experts) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(text);
  if (layers != 0) {
    nlohmann::ordered_json& ratios = config["compress_ratios"];
    // Those of the drafter's layers are last.
    const std::size_t all = config["num_hidden_layers"];
    const std::size_t kept = std::min(layers, all);
    ratios.erase(ratios.begin() + static_cast<std::ptrdiff_t>(kept), ratios.begin() + static_cast<std::ptrdiff_t>(all));
    config["num_hidden_layers"] = kept;
  }
  if (experts != 0) config["n_routed_experts"] = experts;
  return config.dump(2);
}

int run_make_model(MakeModelArguments& arguments) {
  const std::filesystem::path directory = arguments.directory;
  if (std::filesystem::exists(directory) && !std::filesystem::is_empty(directory)) {
    throw Error(fmt::format("{}: already exists. Choose another directory, or remove it.",
                            printable(arguments.directory, 4096)));
  }
  synthetic::SyntheticOptions& options = arguments.options;
  options.family = *synthetic::family_from_name(arguments.form);
  options.mtp = !arguments.no_mtp;
  const std::string config =
      with_sizes(synthetic::config_json(arguments.like, options.family), arguments.layers, arguments.experts);
  auto tensors = synthetic::tensor_list(read_config(config).config, options);
  std::erase_if(tensors,
                [&](const auto& t) { return std::ranges::find(arguments.drop, t.name) != arguments.drop.end(); });
  std::uint64_t bytes = 0;
  for (const auto& t : tensors) bytes += tensor_bytes(t.dtype, t.shape).value_or(0);
  std::filesystem::create_directories(directory);
  const std::uintmax_t available = std::filesystem::space(directory).available;
  if (!arguments.sparse && bytes > available) {
    throw Error(
        fmt::format("{}: the model takes {}, but only {} are free. Reduce --layers or --experts, or write zeros "
                    "that take no disk space with --sparse.",
                    printable(arguments.directory, 4096), bytes_text(bytes), bytes_text(available)));
  }
  synthetic::write_checkpoint(directory, tensors, config, arguments.sparse);
  fmt::print("{}: {} tensors in {} file{}, {}\n", printable(arguments.directory, 4096), tensors.size(), options.shards,
             options.shards == 1 ? "" : "s", bytes_text(bytes));
  return 0;
}

}  // namespace

void add_make_model_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<MakeModelArguments>();
  CLI::App* command = app.add_subcommand("make-model", "Write a model of a release's shapes with random weights");
  command->footer(
      "For benchmarks and tests: the layers have the release's sizes, so a few of them show its speed "
      "(docs/bench.md).\n"
      "There is no tokenizer. Fewer layers are the first ones; V4-Flash's first three are one of each kind.\n"
      "Exit status: 0; 2 the directory exists, or the disk is too small.");
  command->add_option("DIR", arguments->directory, "Output directory; must not exist")->required();
  command->add_option("--like", arguments->like, "Shapes: flash, pro, or tiny ones of every kind of layer")
      ->check(CLI::IsMember({"flash", "pro", "tiny", "pro-tiny"}))
      ->capture_default_str();
  command->add_option("--layers", arguments->layers, "Number of layers; default: the release's")
      ->check(CLI::Range(1, 1000));
  command->add_option("--experts", arguments->experts, "Number of routed experts; default: the release's")
      ->check(CLI::Range(8, 1000));
  command
      ->add_option("--form", arguments->form, "Storage forms and names of tensors, as a family of artifacts has them")
      ->check(CLI::IsMember({"official", "bf16", "fp8", "w4a16", "nvfp4", "modelopt", "huggingface", "dspark"}))
      ->capture_default_str();
  command->add_option("--shards", arguments->options.shards, "Number of files")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--sparse", arguments->sparse, "Write only zeros, which take no disk space");
  command->add_flag("--mtp-aliases", arguments->options.mtp_aliases, "Store the MTP block's own head and embedding");
  command->add_flag("--no-mtp", arguments->no_mtp, "Omit the MTP block, although config.json announces it");
  command->add_option("--drop", arguments->drop, "Omit this tensor")->type_name("TENSOR");
  command->callback([arguments, &status] { status = run_make_model(*arguments); });
}

}  // namespace outrider
