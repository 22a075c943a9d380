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

#include "outrider/architectures/deepseek_v4/memory_need.h"
#include "outrider/binding/open_plan.h"
#include "outrider/cli/commands/acceptance_watch.h"
#include "outrider/cli/commands/end_tokens.h"
#include "outrider/cli/commands/generation_statistics.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/interrupt.h"
#include "outrider/cli/terminal/tell.h"
#include "outrider/cli/terminal/text_writer.h"
#include "outrider/decoding/decoder.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kRoomOfAConversation = 4096;  // tokens

struct Arguments {
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
      throw Error(fmt::format("{}: the prompt has more than {} bytes. Give the part that the text is to go on from.",
                              name, kMaxPrompt));
    }
  }
  if (!in.eof()) {
    throw Error(fmt::format("{}: the prompt cannot be read ({}). Give a file of text, or the prompt itself with -p.",
                            name, std::strerror(errno)));
  }
  return text;
}

std::string read_prompt(const Arguments& arguments) {
  if (arguments.prompt) return *arguments.prompt;
  if (arguments.file.empty()) return read_all(std::cin, "standard input");
  std::ifstream in(arguments.file, std::ios::binary);
  return read_all(in, printable(arguments.file, 4096));
}

// Of --stop. A part of a character would cut the text within it.
std::string refusal_of_stop(const std::string& stop) {
  if (stop.empty()) return "an empty text would stop at once";
  std::string text;
  const bool whole = append_utf8_lossy(text, stop) == 0 && text == stop;
  return whole ? "" : "is not UTF-8, so no text can hold it";
}

// A model that writes texts, one after the other.
class Writer {
 public:
  explicit Writer(const Arguments& arguments)
      : arguments_(arguments),
        plan_(open_plan(arguments.path, arguments.speculation.drafter())),
        decoder_options_{arguments.speculation.num_speculative_tokens(*plan_, arguments.path), arguments.model.chunk},
        tokenizer_(Tokenizer::open(plan_->checkpoint().root())),
        model_(load_model(plan_, arguments.model.options())),
        decoder_(*model_, decoder_options_),
        watch_(plan_, arguments.expect_acceptance) {
    params_.sampling = arguments.sampling;
    params_.seed = arguments.seed;
    params_.max_tokens = arguments.max_tokens;
    if (!arguments.ignore_eos) params_.stop_token_ids = end_tokens(*plan_, tokenizer_);
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& path() const { return arguments_.path; }

  // Writes what follows `prompt` to standard output, statistics to standard error. Returns the text. With a catcher it
  // stops at Ctrl-C, and more texts follow.
  std::string write(std::vector<TokenId> prompt, InterruptCatcher* catcher) {
    ProcessedText from = text_for(prompt, catcher != nullptr);
    Generation generation(*model_, std::move(from), std::move(prompt), params_);
    const bool colours = arguments_.show_drafts && std::getenv("NO_COLOR") == nullptr;
    TextWriter text(tokenizer_, arguments_.stop, colours);
    Generation* const one = &generation;
    GenerationTimes times;
    const auto begin = Clock::now();
    bool going_on = true;
    const auto step = [&] {
      decoder_.step({&one, 1});
      watch_.add(generation);
      warn_once();
      going_on = going_on && (catcher == nullptr || !catcher->take());
    };
    while (going_on && generation.written().empty()) step();
    const auto prefilled = Clock::now();
    const std::uint64_t read_before = model_->weight_bytes_read();
    while (going_on) {
      for (const WrittenToken& token : generation.written()) going_on = going_on && text.write(token);
      if (!going_on || generation.finished()) break;
      step();
    }
    const auto end = Clock::now();
    text.finish();
    times.decode_weight_bytes = model_->weight_bytes_read() - read_before;
    times.prefill_seconds = std::chrono::duration<double>(prefilled - begin).count();
    times.decode_seconds = std::chrono::duration<double>(end - prefilled).count();
    tell("\n{}", generation_statistics(generation, *model_, decoder_options_.num_speculative_tokens, times));
    if (const std::string warning = watch_.warning(); !warning.empty()) tell("{}\n", warning);
    if (catcher != nullptr) processed_ = std::move(generation).take_text();
    return text.text();
  }

 private:
  // What the text before left, where it holds this one; else new memory. Where more texts follow, with room for them.
  ProcessedText text_for(std::span<const TokenId> prompt, bool more_follow) {
    SequenceLimits limits = Generation::limits(*model_, prompt.size(), params_);
    if (processed_ && processed_->max_length() >= limits.max_length) return *std::exchange(processed_, std::nullopt);
    processed_.reset();
    const std::size_t tokens_a_pass = std::min(prompt.size(), decoder_options_.chunk);
    require_memory(*model_, limits, 1, tokens_a_pass);
    if (more_follow) {
      SequenceLimits roomy = limits;
      roomy.max_length =
          std::min(std::max(2 * limits.max_length, kRoomOfAConversation), model_->config().max_position_embeddings);
      if (enough_memory(*model_, roomy, 1, tokens_a_pass)) limits = roomy;
    }
    return ProcessedText(model_->new_sequence(limits));
  }

  void warn_once() {
    if (warned_) return;
    const std::string warning = watch_.warning();
    if (warning.empty()) return;
    tell("\n{}\n", warning);
    warned_ = true;
  }

  const Arguments& arguments_;
  std::shared_ptr<const CompletePlan> plan_;
  DecoderOptions decoder_options_;
  Tokenizer tokenizer_;
  std::unique_ptr<const Model> model_;
  Decoder decoder_;
  GenerationParams params_;
  AcceptanceWatch watch_;
  std::optional<ProcessedText> processed_;  // of the text before, on a terminal
  bool warned_ = false;
};

// Each line is a prompt; with --chat the lines are one conversation.
void converse(Writer& writer, const Arguments& arguments) {
  tell("{}: {}. Ctrl-C stops a text, Ctrl-D ends.\n", writer.path(),
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
            writer.write(chat_prompt_ids(writer.tokenizer(), encode_messages(messages, {})), &catcher);
        messages.push_back({{"role", "assistant"}, {"content", reply}});
      } else {
        writer.write(text_prompt_ids(writer.tokenizer(), line), &catcher);
      }
    } catch (const Error& e) {
      // A line that is refused leaves the conversation as it was.
      if (arguments.chat) messages.erase(messages.size() - 1);
      tell("outrider: {}\n", e.what());
    }
  }
  tell("\n");
}

int run(const Arguments& arguments) {
  validate(arguments.sampling);
  const bool interactive = !arguments.prompt && arguments.file.empty() && isatty(STDIN_FILENO) == 1;
  const std::string prompt = interactive ? std::string() : read_prompt(arguments);
  if (!interactive && prompt.empty()) throw Error("The prompt is empty: there is nothing to go on from.");
  Writer writer(arguments);
  if (interactive) {
    converse(writer, arguments);
    return 0;
  }
  const auto message = nlohmann::ordered_json::array({{{"role", "user"}, {"content", prompt}}});
  writer.write(arguments.chat ? chat_prompt_ids(writer.tokenizer(), encode_messages(message, {}))
                              : text_prompt_ids(writer.tokenizer(), prompt),
               nullptr);
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Write text that follows a prompt");
  command->footer(
      "Drafts one token at a time with the checkpoint's MTP block where it has one; that changes how fast the text\n"
      "comes, not what it is. Without -p and -f the prompt is read from standard input; on a terminal each line is a\n"
      "prompt, or, with --chat, a message of one conversation. Statistics go to standard error, and a warning where "
      "next\n"
      "to none of the drafts are accepted.\n"
      "Exit status: 0; 2 the checkpoint is incomplete, or something else that was asked for is not possible.");
  command->add_option("MODEL", arguments->path, "Directory of the checkpoint, with its tokenizer.json")->required();
  auto* prompt = command->add_option("-p,--prompt", arguments->prompt, "The prompt");
  command->add_option("-f,--file", arguments->file, "A file that holds the prompt")->excludes(prompt);
  command->add_flag("--chat", arguments->chat, "The prompt is a user's message: encode it as DeepSeek-V4's chats are");
  command->add_option("-n,--max-tokens", arguments->max_tokens, "Tokens to write, at most")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_speculation_options(*command, arguments->speculation);
  add_expect_acceptance_option(*command, arguments->expect_acceptance);
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
  command->add_option("--seed", arguments->seed, "For sampling")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_option("--stop", arguments->stop, "Text to stop before; may be given several times")
      ->check(refusal_of_stop);
  command->add_flag("--ignore-eos", arguments->ignore_eos, "Go on after the end of the text");
  add_chunk_option(*command, arguments->model.chunk);
  add_model_options(*command, arguments->model);
  command->callback([arguments, &status] { status = run(*arguments); });
}

}  // namespace outrider
