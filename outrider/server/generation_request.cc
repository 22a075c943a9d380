#include "outrider/server/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "outrider/prompt/markup.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/server/chat_prompt.h"
#include "outrider/server/output_fields.h"
#include "outrider/server/request_fields.h"
#include "outrider/server/sampling_fields.h"

namespace outrider {
namespace {

constexpr std::int64_t kMaxChoices = 128;
constexpr std::int64_t kMaxLogprobs = 20;
constexpr std::size_t kMaxLogprobTokenIds = 128;
constexpr std::size_t kMaxIdBytes = 128;
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

void read_stream_options(const Fields& fields, GenerationRequest& request) {
  request.stream = fields.flag("stream").value_or(false);
  const auto options = fields.object("stream_options");
  if (!options) return;
  check_fields(*options, FieldPlace::kStreamOptions);
  if (!request.stream) fields.refuse("stream_options", "requires \"stream\": true.");
  request.include_usage = options->flag("include_usage").value_or(false);
  request.continuous_usage = request.include_usage && options->flag("continuous_usage_stats").value_or(false);
}

// Of the response's id, which clients log and search for.
std::string read_id(const Fields& fields) {
  const std::string id = fields.text("request_id").value_or("");
  const auto printable = [](char c) { return c > ' ' && c < '\x7f'; };
  if (id.size() > kMaxIdBytes || !std::ranges::all_of(id, printable)) {
    fields.refuse(
        "request_id",
        fmt::format("must have at most {} characters, all of them printable ASCII without spaces.", kMaxIdBytes));
  }
  return id;
}

// Reads the fields that completions and chats share.
GenerationRequest read_common(const Fields& fields, const Tokenizer& tokenizer, const RequestDefaults& defaults) {
  GenerationRequest request;
  request.params.sampling = defaults.sampling;
  read_sampling(fields, defaults.vocab_size, request.params.sampling);
  request.n = static_cast<std::size_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  if (const auto best_of = fields.integer("best_of", 1, kMaxChoices);
      best_of && static_cast<std::size_t>(*best_of) != request.n) {
    fields.refuse("best_of", "must equal n: all choices are returned.");
  }
  if (const auto seed = fields.integer("seed", std::numeric_limits<std::int64_t>::min(), kNoLimit)) {
    if (*seed != -1) request.seed = static_cast<std::uint64_t>(*seed);  // as in vLLM, -1 is random
  }
  read_stream_options(fields, request);
  read_output_fields(fields, tokenizer, defaults, request.params, request.text);
  request.text.skip_special_tokens = fields.flag("skip_special_tokens").value_or(true);
  request.return_tokens = fields.flag("return_tokens").value_or(false);
  request.return_token_ids = fields.flag("return_token_ids").value_or(false);
  request.tokens_as_ids = fields.flag("return_tokens_as_token_ids").value_or(false);
  if (const auto count = fields.integer("prompt_logprobs", 0, kMaxLogprobs)) {
    if (request.stream) fields.refuse("prompt_logprobs", "is not supported with \"stream\": true.");
    request.prompt_logprobs = request.params.prompt_logprobs = static_cast<std::size_t>(*count);
  }
  request.id = read_id(fields);
  if (const auto salt = fields.text("cache_salt")) {
    if (salt->empty()) fields.refuse("cache_salt", "must not be empty.");
    request.reuse_prefixes = false;
  }
  return request;
}

// Call this once params.logprobs is known.
void read_logprob_token_ids(const Fields& fields, const RequestDefaults& defaults, GenerationRequest& request) {
  const auto ids = fields.token_ids("logprob_token_ids", defaults.vocab_size);
  if (!ids) return;
  if (ids->empty()) fields.refuse("logprob_token_ids", "is empty; leave it out for the most likely tokens.");
  if (!request.params.logprobs) fields.refuse("logprob_token_ids", "requires logprobs.");
  if (ids->size() > kMaxLogprobTokenIds) {
    fields.refuse("logprob_token_ids", fmt::format("has more than {} token ids.", kMaxLogprobTokenIds));
  }
  request.params.logprob_token_ids = *ids;
}

// `field`: the one of the prompt.
void check_prompt_fits(const char* field, std::size_t prompt, std::uint64_t max_tokens,
                       const RequestDefaults& defaults) {
  try {
    check_length(prompt, max_tokens, defaults.max_model_len);
  } catch (const Error& e) {
    throw ApiError(400, e.what(), field, "context_length_exceeded");
  }
}

void check_fits(const Fields& fields, const GenerationRequest& request, const RequestDefaults& defaults) {
  if (request.params.rules.min_tokens > request.params.max_tokens) {
    fields.refuse("min_tokens", fmt::format("is {}, more than max_tokens, which is {}.",
                                            request.params.rules.min_tokens, request.params.max_tokens));
  }
  for (const std::vector<TokenId>& prompt : request.prompts) {
    check_prompt_fits(request.chat ? "messages" : "prompt", prompt.size(), request.params.max_tokens, defaults);
  }
}

// Which tokens of a prompt to keep.
struct Truncation {
  std::optional<std::size_t> tokens;  // none: all
  bool left = true;                   // drop the first ones

  // Returns whether tokens were dropped.
  bool apply(std::vector<TokenId>& ids) const {
    if (!tokens || ids.size() <= *tokens) return false;
    const auto dropped = static_cast<std::ptrdiff_t>(ids.size() - *tokens);
    const auto first = left ? ids.begin() : ids.end() - dropped;
    ids.erase(first, first + dropped);
    return true;
  }
};

Truncation read_truncation(const Fields& fields, std::uint64_t max_tokens, const RequestDefaults& defaults) {
  Truncation truncation;
  const std::uint64_t most = defaults.max_model_len;
  if (const auto tokens = fields.integer("truncate_prompt_tokens", -1, static_cast<std::int64_t>(most))) {
    if (*tokens == 0) fields.refuse("truncate_prompt_tokens", "is 0; a prompt must have at least one token.");
    truncation.tokens = static_cast<std::size_t>(*tokens);
    if (*tokens < 0) truncation.tokens = max_tokens < most ? most - max_tokens : 1;
  }
  const auto side = fields.text("truncation_side");
  if (side && side != "left" && side != "right") fields.refuse("truncation_side", R"(must be "left" or "right".)");
  truncation.left = side != "right";
  return truncation;
}

// Refuses a text that is too long whatever its tokens are: encoding it would take seconds.
void check_text_fits(const std::string& text, const char* field, const Tokenizer& tokenizer,
                     const RequestDefaults& defaults) {
  const std::size_t tokens = tokenizer.min_tokens(text.size());
  if (tokens <= defaults.max_model_len) return;
  throw ApiError(400,
                 fmt::format("The prompt has {} bytes, at least {} tokens; the maximum length of a sequence is {} "
                             "(max_model_len). Shorten it.",
                             text.size(), tokens, defaults.max_model_len),
                 field, "context_length_exceeded");
}

// Reads the prompts of a completion.
class PromptReader {
 public:
  PromptReader(const Fields& fields, const Tokenizer& tokenizer, const RequestDefaults& defaults,
               const Truncation& truncation, const std::stop_token& gone)
      : fields_(fields),
        add_special_tokens_(fields.flag("add_special_tokens").value_or(true)),
        tokenizer_(tokenizer),
        defaults_(defaults),
        truncation_(truncation),
        gone_(gone) {}

  void read(const nlohmann::ordered_json& value, GenerationRequest& request) const {
    std::vector<TokenId> ids;
    std::string text;
    if (value.is_string()) {
      text = value.get<std::string>();
      if (!truncation_.tokens) check_text_fits(text, "prompt", tokenizer_, defaults_);
      ids = add_special_tokens_ ? text_prompt_ids(tokenizer_, text, gone_) : chat_prompt_ids(tokenizer_, text, gone_);
    } else {
      ids = fields_.token_ids_of("prompt", value, defaults_.vocab_size);
    }
    if (ids.empty()) fields_.refuse("prompt", "has no tokens; it must have at least one.");
    const bool other_text = truncation_.apply(ids) || !value.is_string();
    check_prompt_fits("prompt", ids.size(), request.params.max_tokens, defaults_);
    if (request.echo) request.prompt_texts.push_back(other_text ? tokenizer_.decode(ids, false) : std::move(text));
    request.prompts.push_back(std::move(ids));
  }

 private:
  const Fields& fields_;
  bool add_special_tokens_;
  const Tokenizer& tokenizer_;
  const RequestDefaults& defaults_;
  const Truncation& truncation_;
  const std::stop_token& gone_;
};

void read_prompts(const Fields& fields, const PromptReader& reader, GenerationRequest& request) {
  const nlohmann::ordered_json* prompt = fields.find("prompt");
  constexpr const char* kForms = "a string, a list of token ids, or a list of either";
  if (prompt == nullptr) fields.wrong_type("prompt", kForms);
  if (prompt->is_string() || (prompt->is_array() && !prompt->empty() && is_token_id(prompt->front()))) {
    return reader.read(*prompt, request);
  }
  if (!prompt->is_array() || prompt->empty()) fields.wrong_type("prompt", kForms);
  if (prompt->size() > static_cast<std::size_t>(kMaxChoices)) {
    fields.refuse("prompt", fmt::format("has more than {} prompts.", kMaxChoices));
  }
  for (const nlohmann::ordered_json& each : *prompt) {
    if (!each.is_string() && !each.is_array()) fields.wrong_type("prompt", kForms);
    reader.read(each, request);
  }
}

}  // namespace

GenerationRequest read_completion_request(const Fields& fields, const Tokenizer& tokenizer,
                                          const RequestDefaults& defaults, const std::stop_token& gone) {
  check_fields(fields, FieldPlace::kCompletion);
  GenerationRequest request = read_common(fields, tokenizer, defaults);
  request.echo = fields.flag("echo").value_or(false);
  const std::int64_t max_tokens = fields.integer("max_tokens", request.echo ? 0 : 1, kNoLimit).value_or(16);
  request.prompt_only = max_tokens == 0;
  request.params.max_tokens = static_cast<std::uint64_t>(std::max<std::int64_t>(max_tokens, 1));
  const Truncation truncation = read_truncation(fields, request.params.max_tokens, defaults);
  read_prompts(fields, PromptReader(fields, tokenizer, defaults, truncation, gone), request);
  if (const auto logprobs = fields.integer("logprobs", 0, kMaxLogprobs)) {
    request.params.logprobs = static_cast<std::size_t>(*logprobs);
    if (request.echo) {
      request.params.prompt_logprobs = std::max(request.params.prompt_logprobs.value_or(0), *request.params.logprobs);
    }
  }
  read_logprob_token_ids(fields, defaults, request);
  if (request.echo && request.stream) fields.refuse("echo", "is not supported with \"stream\": true.");
  check_fits(fields, request, defaults);
  return request;
}

GenerationRequest read_chat_request(const nlohmann::ordered_json& body, const Tokenizer& tokenizer,
                                    const RequestDefaults& defaults, const std::stop_token& gone) {
  const Fields fields(body);
  check_fields(fields, FieldPlace::kChat);
  GenerationRequest request = read_common(fields, tokenizer, defaults);
  request.chat = true;
  ChatPrompt prompt = read_chat_prompt(fields, defaults);
  request.thinking_mode = prompt.thinking_mode;
  request.role = prompt.role;
  const bool echo = fields.flag("echo").value_or(false);
  request.parse_tools = prompt.has_tools;
  const auto* choice = fields.find("tool_choice");
  request.calls_named_tool = choice != nullptr && choice->is_object();
  request.parallel_tool_calls = fields.flag("parallel_tool_calls").value_or(true);
  request.include_reasoning = fields.flag("include_reasoning").value_or(true);
  request.return_prompt_text = fields.flag("return_prompt_text").value_or(false);
  request.text.hide_markers = true;
  // Keeps the markup that the message is split by.
  const auto keep = [&](std::string_view token) {
    if (const auto id = tokenizer.token_to_id(token)) request.text.kept_special_tokens.push_back(*id);
  };
  if (request.thinking_mode == ThinkingMode::kThinking) keep(markup::kThinkEnd);
  if (request.parse_tools) keep(markup::kDsml);
  auto max_tokens = fields.integer("max_completion_tokens", 1, kNoLimit);
  if (!max_tokens) max_tokens = fields.integer("max_tokens", 1, kNoLimit);
  const Truncation truncation = read_truncation(fields, static_cast<std::uint64_t>(max_tokens.value_or(1)), defaults);
  if (!truncation.tokens || echo) check_text_fits(prompt.text, "messages", tokenizer, defaults);
  if (echo) request.echoed_text = request.joined.push(prompt.last_content);
  std::vector<TokenId> ids = chat_ids(fields, prompt, tokenizer, gone);
  truncation.apply(ids);
  // Without max_tokens the output may fill the context.
  const std::uint64_t left = ids.size() < defaults.max_model_len ? defaults.max_model_len - ids.size() : 1;
  request.params.max_tokens = max_tokens ? static_cast<std::uint64_t>(*max_tokens) : left;
  request.prompts.push_back(std::move(ids));
  request.prompt_texts.push_back(std::move(prompt.text));
  const auto top_logprobs = fields.integer("top_logprobs", 0, kMaxLogprobs);
  if (fields.flag("logprobs").value_or(false)) {
    request.params.logprobs = static_cast<std::size_t>(top_logprobs.value_or(0));
  } else if (top_logprobs.value_or(0) != 0) {
    fields.refuse("top_logprobs", "requires \"logprobs\": true.");
  }
  read_logprob_token_ids(fields, defaults, request);
  if (request.hides_reasoning()) {  // which logprobs would tell
    request.params.logprobs.reset();
    request.params.logprob_token_ids.clear();
  }
  check_fits(fields, request, defaults);
  return request;
}

}  // namespace outrider
