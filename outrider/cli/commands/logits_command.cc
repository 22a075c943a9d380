#include "outrider/cli/commands/logits_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/architectures/memory_need.h"
#include "outrider/binding/open_plan.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/math/top_k.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

struct LogitsArguments {
  std::string path;
  ModelArguments model;
  std::string tokens;
  std::string npy;
  bool mtp = false;
  bool json = false;
};

struct Logits {
  std::vector<std::vector<float>> rows;  // the model's; with --mtp, then the MTP block's
  std::uint32_t next_token = 0;          // the model's most likely token
  double seconds = 0;
};

std::vector<float> last_row(const Rows& rows) {
  const std::span<const float> row = rows[rows.rows() - 1];
  require_finite(row);
  return {row.begin(), row.end()};
}

// Parses "1,2,3".
std::vector<std::uint32_t> token_ids(std::string_view list) {
  std::vector<std::uint32_t> ids;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const char* const last = list.data() + end;
    const auto [stop, failure] = std::from_chars(list.data() + begin, last, ids.emplace_back());
    if (failure != std::errc() || stop != last) {
      throw Error(fmt::format("--tokens: \"{}\" is not a token id. Separate ids with commas: 1,2,3.",
                              printable(list.substr(begin, end - begin))));
    }
    begin = end + 1;
  }
  return ids;
}

Logits compute(const Model& model, const LogitsArguments& arguments, std::span<const std::uint32_t> tokens) {
  // One more for the token that the MTP block predicts from.
  const SequenceLimits limits{tokens.size() + (arguments.mtp ? 1 : 0), 0};
  require_memory(model, limits, arguments.mtp ? mtp_cache_bytes(model, limits) : 0, 1,
                 std::min(tokens.size(), arguments.model.chunk));
  Sequence sequence = model.new_sequence(limits);
  std::optional<Sequence> mtp_cache;
  if (arguments.mtp) mtp_cache = new_mtp_cache(model, limits);
  Logits logits;
  const auto begin = std::chrono::steady_clock::now();
  Rows streams;
  for (std::size_t at = 0; at < tokens.size(); at += arguments.model.chunk) {
    const std::size_t count = std::min(arguments.model.chunk, tokens.size() - at);
    const bool last = at + count == tokens.size();
    const ForwardItem item{&sequence, tokens.subspan(at, count), last ? LogitsWanted::kLast : LogitsWanted::kNone};
    ForwardResult result = model.forward({&item, 1});
    if (mtp_cache) {
      // The MTP block is given the token after each position; after the last, the model's most likely one.
      std::vector<std::uint32_t> next(tokens.begin() + static_cast<std::ptrdiff_t>(at + 1),
                                      tokens.begin() + static_cast<std::ptrdiff_t>(at + count + (last ? 0 : 1)));
      if (last) next.push_back(top_k(result.logits[0], 1).front());
      const MtpItem draft{&*mtp_cache, next, 0, last ? LogitsWanted::kLast : LogitsWanted::kNone};
      const ForwardResult drafted = run_mtp(model, {&draft, 1}, result.streams);
      if (last) logits.rows.push_back(last_row(drafted.logits));
    }
    if (last) logits.rows.insert(logits.rows.begin(), last_row(result.logits));
  }
  logits.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  logits.next_token = top_k(logits.rows.front(), 1).front();
  return logits;
}

void write_npy(const std::string& path, const std::vector<std::vector<float>>& rows) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows.size(), rows.front().size());
  constexpr std::size_t kPrefix = 10;  // magic, version and length
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out << "\x93NUMPY" << '\x01' << '\x00' << static_cast<char>(header.size() & 0xff)
      << static_cast<char>(header.size() >> 8) << header;
  for (const std::vector<float>& row : rows) {
    out.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  }
  out.flush();
  if (!out) throw Error(fmt::format("{}: cannot be written. Check the free space and the permissions.", path));
}

void print_best(const char* title, const std::vector<float>& row) {
  fmt::print("{}\n", title);
  for (const std::uint32_t token : top_k(row, 10)) fmt::print("  {:>7}  {:.6g}\n", token, row[token]);
}

int run_logits(const LogitsArguments& arguments) {
  const std::vector<std::uint32_t> tokens = token_ids(arguments.tokens);
  const auto plan = open_plan(arguments.path, arguments.mtp ? DrafterLoading::kLoad : DrafterLoading::kSkip);
  if (arguments.mtp && plan->manifest().drafter() != DrafterKind::kMtp) {
    throw Error(fmt::format("{}: the checkpoint has no MTP block. Leave --mtp out.", arguments.path));
  }
  const auto loaded = load_model(plan, arguments.model);
  const Model& model = *loaded;
  const Logits logits = compute(model, arguments, tokens);
  tell("{} tokens in {:.3f} s ({:.1f} tokens/s), {} numerics, {} kernels, {} threads\n", tokens.size(), logits.seconds,
       static_cast<double>(tokens.size()) / logits.seconds, arguments.model.mode, model.backend().name(),
       arguments.model.options().threads);
  if (!arguments.npy.empty()) {
    write_npy(arguments.npy, logits.rows);
  } else if (arguments.json) {
    nlohmann::ordered_json json = {{"tokens", tokens},
                                   {"mode", arguments.model.mode},
                                   {"kernels", model.backend().name()},
                                   {"logits", logits.rows.front()}};
    if (arguments.mtp) {
      json["next_token"] = logits.next_token;
      json["mtp_logits"] = logits.rows.back();
    }
    fmt::print("{}\n", json.dump());
  } else {
    print_best("next token, logit", logits.rows.front());
    if (arguments.mtp) {
      print_best(fmt::format("token after {}, logit of the MTP block", logits.next_token).c_str(), logits.rows.back());
    }
  }
  return 0;
}

}  // namespace

void add_logits_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<LogitsArguments>();
  CLI::App* command = app.add_subcommand("logits", "Run a checkpoint on given tokens and print the logits");
  command->footer(
      "Prints the ten most likely next tokens; --json and --npy give all logits. Speed is printed to standard error.\n"
      "The environment variable OUTRIDER_KERNELS selects scalar, avx2, avx512 or avx512bf16 kernels.\n"
      "Exit status: 0; 2 the checkpoint is incomplete or cannot be read; every error is listed.");
  command
      ->add_option("MODEL", arguments->path, "Checkpoint directory, .safetensors file or model.safetensors.index.json")
      ->required();
  command->add_option("--tokens", arguments->tokens, "Token ids, separated by commas")->type_name("IDS")->required();
  command->add_flag("--mtp", arguments->mtp,
                    "Print the MTP block's logits too, for the token after the most likely next one");
  add_chunk_option(*command, arguments->model.chunk);
  add_model_options(*command, arguments->model);
  auto* json = command->add_flag("--json", arguments->json, "Print all logits as JSON");
  command
      ->add_option("--npy", arguments->npy, "Write all logits to a NumPy file, float32 [1, V] or, with --mtp, [2, V]")
      ->type_name("FILE")
      ->excludes(json);
  command->callback([arguments, &status] { status = run_logits(*arguments); });
}

}  // namespace outrider
