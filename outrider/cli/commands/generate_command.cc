#include "outrider/cli/commands/generate_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/architectures/memory_need.h"
#include "outrider/binding/open_plan.h"
#include "outrider/cli/commands/acceptance_watch.h"
#include "outrider/cli/commands/end_tokens.h"
#include "outrider/cli/commands/generation_statistics.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/interrupt.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/cli/terminal/text_writer.h"
#include "outrider/decoding/decoder.h"
#include "outrider/decoding/drafter_methods.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kConversationLength = 4096;  // tokens

struct GenerateArguments {
  std::string path;
  ModelArguments model;
  std::optional<std::string> prompt;
  std::string file;
  SpeculationArguments speculation;
  std::vector<std::string> stop;
  SamplingParams sampling;
  std::uint64_t seed = 0;
  std::uint64_t max_tokens = 128;
  std::optional<double> expect_acceptance;
  bool chat = false;
  bool ignore_eos = false;
  bool show_drafts = false;
};

std::string read_all(std::istream& in, std::string_view name) {
  constexpr std::size_t kMaxPrompt = 256 << 20;
  std::string text;
  std::array<char, 1 << 16> buffer{};
  while (in.read(buffer.data(), buffer.size()) || in.gcount() != 0) {
    text.append(buffer.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxPrompt) {
      throw Error(fmt::format("{}: the prompt is larger than {} bytes. Shorten it.", name, kMaxPrompt));
    }
  }
  if (!in.eof()) {
    throw Error(
        fmt::format("{}: the prompt cannot be read ({}). Give a text file with -f, or the prompt itself with -p.", name,
                    std::strerror(errno)));
  }
  return text;
}

std::string read_prompt(const GenerateArguments& arguments) {
  if (arguments.prompt) return *arguments.prompt;
  if (arguments.file.empty()) return read_all(std::cin, "standard input");
  std::ifstream in(arguments.file, std::ios::binary);
  return read_all(in, printable(arguments.file, 4096));
}

// Why a --stop string is invalid; empty if it is valid. An incomplete character would split the output's.
std::string check_stop(const std::string& stop) {
  if (stop.empty()) return "must not be empty";
  std::string text;
  const bool whole = append_utf8_lossy(text, stop) == 0 && text == stop;
  return whole ? "" : "is not UTF-8, so it can never match";
}

// How to draft. Without a number, one token per step where the drafts are to be shown: the fastest number may be none.
SpeculativeConfig speculation_of(const GenerateArguments& arguments, const CompletePlan& plan) {
  SpeculativeConfig config = arguments.speculation.speculative_config(plan, arguments.path);
  if (arguments.show_drafts && config.automatic) {
    config.automatic = false;
    config.num_speculative_tokens = 1;
  }
  return config;
}

// A model, and what generates with it, one output after another.
class Generator {
 public:
  explicit Generator(const GenerateArguments& arguments)
      : arguments_(arguments),
        plan_(open_plan(arguments.path, arguments.speculation.drafter(arguments.path))),
        decoder_options_{speculation_of(arguments, *plan_), arguments.model.chunk},
        tokenizer_(Tokenizer::open(plan_->checkpoint().root())),
        model_(load_model(plan_, arguments.model)),
        decoder_(*model_, decoder_options_),
        watch_(plan_, arguments.expect_acceptance) {
    params_.sampling = arguments.sampling;
    params_.seed = arguments.seed;
    params_.reproducible = true;
    params_.max_tokens = arguments.max_tokens;
    if (!arguments.ignore_eos) params_.stop_token_ids = end_tokens(*plan_, tokenizer_);
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& path() const { return arguments_.path; }

  // Generates from `prompt` to standard output, with statistics on standard error. Returns the output. With a catcher,
  // Ctrl-C stops it, and further prompts will follow.
  std::string generate(std::vector<TokenId> prompt, InterruptCatcher* catcher) {
    ProcessedSequence from = sequence_for(prompt, catcher != nullptr);
    Generation generation(*model_, std::move(from), std::move(prompt), params_);
    const bool colours = arguments_.show_drafts && std::getenv("NO_COLOR") == nullptr;
    TextWriter text(tokenizer_, arguments_.stop, colours);
    Generation* const one = &generation;
    GenerationTimes times;
    const auto begin = Clock::now();
    bool continues = true;
    const auto step = [&] {
      decoder_.step({&one, 1});
      if (drafter_is_trained(decoder_options_.speculative_config)) watch_.add(generation);
      warn_once();
      continues = continues && (catcher == nullptr || !catcher->take());
    };
    while (continues && generation.new_tokens().empty()) step();
    const auto prefilled = Clock::now();
    const std::uint64_t read_before = model_->weight_bytes_read();
    while (continues) {
      for (const OutputToken& token : generation.new_tokens()) continues = continues && text.write(token);
      if (!continues || generation.finished()) break;
      step();
    }
    const auto end = Clock::now();
    text.finish();
    times.decode_weight_bytes = model_->weight_bytes_read() - read_before;
    times.prefill_seconds = std::chrono::duration<double>(prefilled - begin).count();
    times.decode_seconds = std::chrono::duration<double>(end - prefilled).count();
    tell("\n{}",
         generation_statistics(generation, *model_, decoder_options_.speculative_config.num_speculative_tokens, times));
    if (const std::string warning = watch_.warning(); !warning.empty()) tell("{}\n", warning);
    if (catcher != nullptr) previous_ = std::move(generation).take_processed();
    return text.text();
  }

 private:
  // The sequence of the previous output if it is large enough, else a new one; with spare room if prompts will follow.
  ProcessedSequence sequence_for(std::span<const TokenId> prompt, bool prompts_follow) {
    SequenceLimits limits = Generation::limits(*model_, prompt.size(), params_);
    if (previous_ && previous_->max_length() >= limits.max_length) return *std::exchange(previous_, std::nullopt);
    previous_.reset();
    const std::size_t tokens_per_pass = std::min(prompt.size(), decoder_options_.chunk);
    require_memory(*model_, limits, decoder_.drafter_bytes(limits), 1, tokens_per_pass);
    if (prompts_follow) {
      SequenceLimits longer = limits;
      longer.max_length =
          std::min(std::max(2 * limits.max_length, kConversationLength), model_->config().max_position_embeddings);
      if (enough_memory(*model_, longer, decoder_.drafter_bytes(longer), 1, tokens_per_pass)) limits = longer;
    }
    return decoder_.new_sequence(limits);
  }

  void warn_once() {
    if (warned_) return;
    const std::string warning = watch_.warning();
    if (warning.empty()) return;
    tell("\n{}\n", warning);
    warned_ = true;
  }

  const GenerateArguments& arguments_;
  std::shared_ptr<const CompletePlan> plan_;
  DecoderOptions decoder_options_;
  Tokenizer tokenizer_;
  std::unique_ptr<const Model> model_;
  Decoder decoder_;
  GenerationParams params_;
  AcceptanceWatch watch_;
  std::optional<ProcessedSequence> previous_;  // of the previous output, on a terminal
  bool warned_ = false;
};

// Reads a prompt per line; with --chat, the lines are one conversation.
void converse(Generator& generator, const GenerateArguments& arguments) {
  tell("{}: {}. Ctrl-C stops the output, Ctrl-D quits.\n", generator.path(),
       arguments.chat ? "each line is a message of one conversation" : "each line is a prompt");
  InterruptCatcher catcher;
  auto messages = nlohmann::ordered_json::array();
  for (;;) {
    tell("> ");
    std::string line;
    if (!std::getline(std::cin, line)) {
      if (!catcher.take()) break;
      std::cin.clear();
      std::clearerr(stdin);
      tell("\n");
      continue;
    }
    catcher.take();
    if (line.empty()) continue;
    try {
      if (arguments.chat) {
        messages.push_back({{"role", "user"}, {"content", line}});
        const std::string reply =
            generator.generate(chat_prompt_ids(generator.tokenizer(), encode_messages(messages, {})), &catcher);
        messages.push_back({{"role", "assistant"}, {"content", reply}});
      } else {
        generator.generate(text_prompt_ids(generator.tokenizer(), line), &catcher);
      }
    } catch (const Error& e) {
      // A rejected line leaves the conversation unchanged.
      if (arguments.chat) messages.erase(messages.size() - 1);
      tell("outrider: {}\n", e.what());
    }
  }
  tell("\n");
}

int run_generate(const GenerateArguments& arguments) {
  validate(arguments.sampling);
  const bool interactive = !arguments.prompt && arguments.file.empty() && isatty(STDIN_FILENO) == 1;
  const std::string prompt = interactive ? std::string() : read_prompt(arguments);
  if (!interactive && prompt.empty()) throw Error("The prompt is empty: there is nothing to generate from.");
  Generator generator(arguments);
  if (interactive) {
    converse(generator, arguments);
    return 0;
  }
  const auto message = nlohmann::ordered_json::array({{{"role", "user"}, {"content", prompt}}});
  generator.generate(arguments.chat ? chat_prompt_ids(generator.tokenizer(), encode_messages(message, {}))
                                    : text_prompt_ids(generator.tokenizer(), prompt),
                     nullptr);
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Generate text from a prompt");
  command->footer(
      "Drafts one token at a time with the checkpoint's MTP block, if it has one; this changes the speed, never the\n"
      "output. Without -p and -f, the prompt is read from standard input; on a terminal, each line is a prompt or,\n"
      "with --chat, a message of one conversation. Statistics, and a warning if hardly any drafts are accepted, go to\n"
      "standard error.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or an option cannot be satisfied.");
  command->add_option("MODEL", arguments->path, "Checkpoint directory, with tokenizer.json")->required();
  auto* prompt = command->add_option("-p,--prompt", arguments->prompt, "Prompt");
  command->add_option("-f,--file", arguments->file, "File with the prompt")->excludes(prompt);
  command->add_flag("--chat", arguments->chat, "Encode the prompt as a user's message of a DeepSeek-V4 chat");
  command->add_option("-n,--max-tokens", arguments->max_tokens, "Maximum number of output tokens")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_speculation_options(*command, arguments->speculation);
  add_expect_acceptance_option(*command, arguments->expect_acceptance);
  command->add_flag(
      "--show-drafts", arguments->show_drafts,
      "Show accepted draft tokens in green; one draft per step, unless --speculative-config has a number");
  SamplingParams& sampling = arguments->sampling;
  command->add_option("--temperature", sampling.temperature, "Sampling temperature; 0: greedy")->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Sample from the k most likely tokens; 0: all")->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "Sample from the most likely tokens with total probability p")
      ->capture_default_str();
  command->add_option("--min-p", sampling.min_p, "Minimum probability, relative to the most likely token")
      ->capture_default_str();
  command
      ->add_option("--repetition-penalty", sampling.repetition_penalty,
                   "Penalty factor for tokens of the prompt and the output")
      ->capture_default_str();
  command->add_option("--presence-penalty", sampling.presence_penalty, "Penalty for tokens of the output")
      ->capture_default_str();
  command
      ->add_option("--frequency-penalty", sampling.frequency_penalty,
                   "Penalty for tokens of the output, per occurrence")
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "Random seed of sampling")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--stop", arguments->stop, "Stop string, excluded from the output; may be repeated")
      ->check(check_stop);
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Ignore the end-of-sequence token");
  add_chunk_option(*command, arguments->model.chunk);
  add_model_options(*command, arguments->model);
  command->callback([arguments, &status] { status = run_generate(*arguments); });
}

}  // namespace outrider
