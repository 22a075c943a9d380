// Writes synthetic checkpoints for the demo, benchmarks and manual experiments.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/testing/synthetic_checkpoint.h"

namespace {

// Reduces the number of layers or experts, keeping their sizes; 0: unchanged.
std::string with_sizes(const std::string& text, std::size_t layers, std::uint64_t experts) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(text);
  if (layers != 0) {
    nlohmann::ordered_json& ratios = config["compress_ratios"];
    // The MTP block's ratio is last.
    ratios.erase(ratios.begin() + static_cast<std::ptrdiff_t>(std::min(layers, ratios.size() - 1)), ratios.end() - 1);
    config["num_hidden_layers"] = ratios.size() - 1;
  }
  if (experts != 0) config["n_routed_experts"] = experts;
  return config.dump(2);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace outrider;
  CLI::App app{"Writes a synthetic DeepSeek-V4 checkpoint"};
  std::string directory;
  std::string shape = "tiny";
  std::string family_name = "official";
  std::vector<std::string> drop;
  testing::SyntheticOptions options;
  bool sparse = false;
  bool no_mtp = false;
  std::size_t layers = 0;
  std::uint64_t experts = 0;
  app.add_option("DIR", directory, "Output directory")->required();
  app.add_option("--shape", shape, "Model shape")->check(CLI::IsMember({"tiny", "pro-tiny", "flash", "pro"}));
  app.add_option("--family", family_name, "official, bf16, w4a16, nvfp4, modelopt, fp8, huggingface, dspark");
  app.add_option("--shards", options.shards, "Number of files")->check(CLI::Range(1, 10000));
  app.add_option("--layers", layers, "Number of layers; default: the shape's")->check(CLI::Range(1, 1000));
  app.add_option("--experts", experts, "Number of routed experts; default: the shape's")->check(CLI::Range(8, 1000));
  app.add_flag("--sparse", sparse, "Write only zeros, which take no disk space");
  app.add_flag("--mtp-aliases", options.mtp_aliases, "Store the MTP blocks' own head and embedding");
  app.add_flag("--no-mtp", no_mtp, "Omit the MTP block, although config.json announces it");
  app.add_option("--drop", drop, "Omit this tensor");
  CLI11_PARSE(app, argc, argv);
  try {
    const std::optional<testing::Family> family = testing::family_from_name(family_name);
    if (!family) throw Error(fmt::format("unknown family {}", family_name));
    options.family = *family;
    options.mtp = !no_mtp;
    const std::string config = with_sizes(testing::config_json(shape, *family), layers, experts);
    auto tensors = testing::tensor_list(read_config(config).config, options);
    std::erase_if(tensors, [&](const auto& t) { return std::find(drop.begin(), drop.end(), t.name) != drop.end(); });
    testing::write_checkpoint(directory, tensors, config, sparse);
    fmt::print("{}: {} tensors in {} files\n", directory, tensors.size(), options.shards);
  } catch (const std::exception& e) {
    fmt::print(stderr, "make_checkpoint: {}\n", e.what());
    return 1;
  }
  return 0;
}
