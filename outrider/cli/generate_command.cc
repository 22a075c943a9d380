#include "outrider/cli/generate_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/open_plan.h"
#include "outrider/cli/model_options.h"
#include "outrider/model/model.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/speculation/decoder.h"
#include "outrider/speculation/speculative_config.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string path;
  ModelArguments model;
  std::optional<std::string> prompt;
  std::string file;
  std::string speculative_config;
  std::vector<std::string> stop;
  SamplingParams sampling;
  std::uint64_t seed = 0;
  std::uint64_t max_tokens = 128;
  bool chat = false;
  bool no_speculation = false;
  bool ignore_eos = false;
  bool show_drafts = false;
};

std::string read_prompt(const Arguments& arguments) {
  if (arguments.prompt) return *arguments.prompt;
  if (!arguments.file.empty()) {
    std::ifstream in(arguments.file, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in.is_open() || in.bad()) throw Error(fmt::format("{}: the prompt cannot be read.", arguments.file));
    return text;
  }
  if (isatty(STDIN_FILENO) == 1) {
    throw Error("There is no prompt: give one with -p TEXT or -f FILE, or pipe it to standard input.");
  }
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// How many tokens to draft, before anything large is read.
std::size_t num_speculative_tokens(const Arguments& arguments, const CompletePlan& plan) {
  if (arguments.no_speculation) return 0;
  const bool mtp = plan.manifest().drafter() == DrafterKind::kMtp;
  if (arguments.speculative_config.empty()) return mtp ? 1 : 0;
  const std::size_t count = parse_speculative_config(arguments.speculative_config);
  if (mtp) return count;
  throw Error(
      fmt::format("{}: speculation was asked for, but {}. Leave --speculative-config out to run the model without it.",
                  arguments.path,
                  plan.manifest().drafter() == DrafterKind::kDspark
                      ? "mtp.* holds a DSpark drafter, which is not an MTP block and which Outrider does not run"
                      : "the checkpoint has no MTP block"));
}

std::vector<TokenId> prompt_ids(const Arguments& arguments, const Tokenizer& tokenizer) {
  const std::string text = read_prompt(arguments);
  if (text.empty()) throw Error("The prompt is empty: there is nothing to go on from.");
  std::vector<TokenId> ids;
  if (arguments.chat) {
    const auto messages = nlohmann::ordered_json::array({{{"role", "user"}, {"content", text}}});
    EncodeOptions options;
    options.add_special_tokens = false;
    return tokenizer.encode(encode_messages(messages, {}), options);
  }
  ids = tokenizer.encode(text);
  // DeepSeek's tokenizers leave writing BOS to whoever makes the prompt.
  if (tokenizer.bos_id() && (ids.empty() || ids[0] != *tokenizer.bos_id()))
    ids.insert(ids.begin(), *tokenizer.bos_id());
  return ids;
}

// Writes text as it comes, up to the first stop string. Text that may be the beginning of one waits.
class TextWriter {
 public:
  TextWriter(const Tokenizer& tokenizer, std::vector<std::string> stop, bool show_drafts)
      : decoder_(tokenizer, true), stop_(std::move(stop)), show_drafts_(show_drafts) {}

  // Whether to go on.
  bool write(const WrittenToken& token) {
    held_ += decoder_.push(token.id);
    std::size_t keep = 0;
    for (const std::string& s : stop_) {
      if (const std::size_t at = held_.find(s); at != std::string::npos) {
        held_.resize(at);
        print(held_.size(), token.drafted);
        return false;
      }
      for (std::size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n) {
        if (held_.ends_with(s.substr(0, n))) keep = n;
      }
    }
    print(held_.size() - keep, token.drafted);
    return true;
  }
  void finish() {
    held_ += decoder_.flush();
    print(held_.size(), false);
    fmt::print("\n");
  }

 private:
  void print(std::size_t bytes, bool drafted) {
    const std::string text = held_.substr(0, bytes);
    held_.erase(0, bytes);
    if (text.empty()) return;
    fmt::print("{}{}{}", show_drafts_ && drafted ? "\x1b[32m" : "", text, show_drafts_ && drafted ? "\x1b[0m" : "");
    std::fflush(stdout);
  }

  StreamDecoder decoder_;
  std::vector<std::string> stop_;
  bool show_drafts_;
  std::string held_;
};

void print_statistics(const Generation& generation, const Model& model, std::size_t num_speculative_tokens,
                      double prefill_seconds, double decode_seconds) {
  const std::size_t written = generation.tokens().size() - generation.prompt_tokens();
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  fmt::print(stderr, "\nprefill   {} tokens, {:.1f} tokens/s\ndecode    {} tokens, {:.1f} tokens/s\n",
             generation.prompt_tokens(), rate(generation.prompt_tokens(), prefill_seconds), written - 1,
             rate(written - 1, decode_seconds));
  const SpeculationCounts& counts = generation.counts();
  if (num_speculative_tokens == 0) {
    fmt::print(stderr, "drafts    none: no speculation\n");
  } else {
    std::string per_position;
    for (const std::uint64_t accepted : counts.accepted_per_position) {
      per_position +=
          fmt::format("{}{:.3f}", per_position.empty() ? "" : ", ",
                      counts.drafts == 0 ? 0.0 : static_cast<double>(accepted) / static_cast<double>(counts.drafts));
    }
    fmt::print(stderr, "drafts    acceptance {:.1f}% ({} of {}), acceptance length {:.2f}, per position {}\n",
               100 * counts.acceptance_rate(), counts.accepted_tokens, counts.draft_tokens, counts.acceptance_length(),
               per_position.empty() ? "-" : per_position);
  }
  fmt::print(stderr, "run by    {} kernels, {} numerics\n", model.kernels().name,
             model.mode() == NumericMode::kOfficial ? "official" : "exact");
}

int run(const Arguments& arguments) {
  validate(arguments.sampling);
  const auto plan = open_plan(arguments.path);
  const DecoderOptions decoder_options{num_speculative_tokens(arguments, *plan), arguments.model.chunk};
  const Tokenizer tokenizer = Tokenizer::open(plan->checkpoint().root());

  GenerationParams params;
  params.sampling = arguments.sampling;
  params.seed = arguments.seed;
  params.max_tokens = arguments.max_tokens;
  if (!arguments.ignore_eos && tokenizer.eos_id()) params.stop_token_ids = {*tokenizer.eos_id()};

  const ModelOptions options = arguments.model.options();
  const Model model(std::make_shared<const Weights>(plan), options);
  const Decoder decoder(model, decoder_options);
  Generation generation(model, prompt_ids(arguments, tokenizer), params);

  const bool colours = arguments.show_drafts && std::getenv("NO_COLOR") == nullptr;
  TextWriter writer(tokenizer, arguments.stop, colours);
  Generation* const one = &generation;
  const auto begin = Clock::now();
  while (generation.written().empty()) decoder.step({&one, 1});
  const auto prefilled = Clock::now();
  bool going_on = true;
  for (;;) {
    for (const WrittenToken& token : generation.written()) going_on = going_on && writer.write(token);
    if (!going_on || generation.finished()) break;
    decoder.step({&one, 1});
  }
  const auto end = Clock::now();
  writer.finish();
  print_statistics(generation, model, decoder_options.num_speculative_tokens,
                   std::chrono::duration<double>(prefilled - begin).count(),
                   std::chrono::duration<double>(end - prefilled).count());
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Write text that follows a prompt");
  command->footer(
      "Drafts one token at a time with the checkpoint's MTP block where it has one; that changes how fast the text\n"
      "comes, not what it is. Without -p and -f the prompt is read from standard input. Statistics go to standard\n"
      "error.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or something else that was asked for is not possible.");
  command->add_option("MODEL", arguments->path, "Directory of the checkpoint, with its tokenizer.json")->required();
  auto* prompt = command->add_option("-p,--prompt", arguments->prompt, "The prompt");
  command->add_option("-f,--file", arguments->file, "A file that holds the prompt")->excludes(prompt);
  command->add_flag("--chat", arguments->chat, "The prompt is a user's message: encode it as DeepSeek-V4's chats are");
  command->add_option("-n,--max-tokens", arguments->max_tokens, "Tokens to write, at most")->capture_default_str();
  auto* config = command->add_option("--speculative-config", arguments->speculative_config,
                                     R"(JSON: {"method": "mtp", "num_speculative_tokens": 1..8})");
  command->add_flag("--no-speculation", arguments->no_speculation, "Draft nothing")->excludes(config);
  command->add_flag("--show-drafts", arguments->show_drafts, "Show accepted drafts in green");
  SamplingParams& sampling = arguments->sampling;
  command->add_option("--temperature", sampling.temperature, "0: the most likely token, always")->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Sample from the k most likely tokens; 0: from all")
      ->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "Sample from the most likely tokens that add up to p")
      ->capture_default_str();
  command
      ->add_option("--min-p", sampling.min_p, "Leave out tokens below this part of the most likely one's probability")
      ->capture_default_str();
  command->add_option("--repetition-penalty", sampling.repetition_penalty, "On tokens of the prompt and the text")
      ->capture_default_str();
  command->add_option("--presence-penalty", sampling.presence_penalty, "On tokens of the text")->capture_default_str();
  command->add_option("--frequency-penalty", sampling.frequency_penalty, "The same, for each time")
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "For sampling")->capture_default_str();
  command->add_option("--stop", arguments->stop, "Text to stop before; may be given several times")
      ->check([](const std::string& s) { return s.empty() ? "an empty text would stop at once" : ""; });
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Go on after the end of the text");
  add_model_options(*command, arguments->model);
  command->callback([arguments, &status] { status = run(*arguments); });
}

}  // namespace outrider
