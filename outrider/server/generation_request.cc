#include "outrider/server/generation_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "outrider/files/file_reader.h"
#include "outrider/prompt/markup.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::int64_t kMaxChoices = 128;
constexpr std::int64_t kMaxLogprobs = 20;
constexpr std::size_t kMaxStops = 64;
constexpr std::size_t kMaxStopBytes = 4096;
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

void read_stops(const Fields& fields, GenerationRequest& request) {
  if (const nlohmann::ordered_json* stop = fields.find("stop")) {
    const nlohmann::ordered_json list = stop->is_string() ? nlohmann::ordered_json::array({*stop}) : *stop;
    if (!list.is_array()) fields.wrong_type("stop", "a string or a list of strings");
    if (list.size() > kMaxStops) fields.refuse("stop", fmt::format("has more than {} strings.", kMaxStops));
    for (const nlohmann::ordered_json& each : list) {
      if (!each.is_string()) fields.wrong_type("stop", "a string or a list of strings");
      request.text.stop.push_back(each.get<std::string>());
      const std::size_t length = request.text.stop.back().size();
      if (length == 0) fields.refuse("stop", "must not contain an empty string.");
      if (length > kMaxStopBytes)
        fields.refuse("stop", fmt::format("has a string of more than {} bytes.", kMaxStopBytes));
    }
  }
  if (const nlohmann::ordered_json* ids = fields.find("stop_token_ids")) {
    if (!ids->is_array()) fields.wrong_type("stop_token_ids", "a list of token ids");
    for (const TokenId id : token_ids(*ids)) request.params.stop_token_ids.push_back(id);
  }
}

void read_sampling(const Fields& fields, SamplingParams& sampling) {
  const auto read = [&](const char* name, double& value) { value = fields.number(name).value_or(value); };
  read("temperature", sampling.temperature);
  read("top_p", sampling.top_p);
  read("min_p", sampling.min_p);
  read("presence_penalty", sampling.presence_penalty);
  read("frequency_penalty", sampling.frequency_penalty);
  read("repetition_penalty", sampling.repetition_penalty);
  // vLLM's clients send -1 or 0 for "all".
  if (const auto top_k = fields.integer("top_k", -1, std::numeric_limits<std::int32_t>::max())) {
    sampling.top_k = static_cast<std::uint32_t>(std::max<std::int64_t>(*top_k, 0));
  }
  if (const nlohmann::ordered_json* bias = fields.find("logit_bias")) {
    if (!bias->is_object()) fields.wrong_type("logit_bias", "an object of token ids and numbers");
    for (const auto& [key, value] : bias->items()) {
      const bool digits =
          !key.empty() && key.size() <= 9 && std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; });
      if (!digits || !value.is_number()) fields.wrong_type("logit_bias", "an object of token ids and numbers");
      sampling.logit_bias.push_back({static_cast<std::uint32_t>(std::stoul(key)), value.get<float>()});
    }
  }
  try {
    validate(sampling);
  } catch (const Error& e) {
    throw ApiError(400, e.what());
  }
}

// Reads the fields that completions and chats share.
GenerationRequest read_common(const Fields& fields, const RequestDefaults& defaults) {
  GenerationRequest request;
  request.params.sampling = defaults.sampling;
  read_sampling(fields, request.params.sampling);
  request.n = static_cast<std::size_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  if (const auto best_of = fields.integer("best_of", 1, kMaxChoices);
      best_of && static_cast<std::size_t>(*best_of) != request.n) {
    fields.refuse("best_of", "must equal n: all choices are returned.");
  }
  if (const auto seed = fields.integer("seed", std::numeric_limits<std::int64_t>::min(), kNoLimit)) {
    request.seed = static_cast<std::uint64_t>(*seed);
  }
  request.stream = fields.flag("stream").value_or(false);
  if (const auto options = fields.object("stream_options")) {
    if (!request.stream) fields.refuse("stream_options", "requires \"stream\": true.");
    request.include_usage = options->flag("include_usage").value_or(false);
  }
  if (!fields.flag("ignore_eos").value_or(false)) request.params.stop_token_ids = defaults.end_tokens;
  read_stops(fields, request);
  request.text.include_stop = fields.flag("include_stop_str_in_output").value_or(false);
  request.text.skip_special_tokens = fields.flag("skip_special_tokens").value_or(true);
  request.return_tokens = fields.flag("return_tokens").value_or(false);
  return request;
}

void check_fits(const GenerationRequest& request, const RequestDefaults& defaults) {
  for (const std::vector<TokenId>& prompt : request.prompts) {
    try {
      check_length(prompt.size(), request.params.max_tokens, defaults.max_model_len);
    } catch (const Error& e) {
      throw ApiError(400, e.what(), request.chat ? "messages" : "prompt", "context_length_exceeded");
    }
  }
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

void add_prompt(const nlohmann::ordered_json& value, bool add_special_tokens, const Tokenizer& tokenizer,
                const RequestDefaults& defaults, const std::stop_token& gone, GenerationRequest& request) {
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    check_text_fits(text, "prompt", tokenizer, defaults);
    request.prompts.push_back(add_special_tokens ? text_prompt_ids(tokenizer, text, gone)
                                                 : chat_prompt_ids(tokenizer, text, gone));
    request.prompt_texts.push_back(text);
    return;
  }
  request.prompts.push_back(token_ids(value));
  request.prompt_texts.push_back(tokenizer.decode(request.prompts.back(), true));
}

std::optional<std::string> reasoning_effort(const std::string& asked, EncodingRelease release) {
  // OpenAI's levels, mapped as DeepSeek's own API does.
  if (asked == "max" || asked == "xhigh") return "max";
  if (asked == "high") return "high";
  if (asked == "minimal" || asked == "low" || asked == "medium") {
    return release == EncodingRelease::kPreview ? "high" : asked == "medium" ? "high" : "low";
  }
  throw ApiError(400,
                 "reasoning_effort must be \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\" or \"max\".",
                 "reasoning_effort");
}

void check_tools(const Fields& fields, const nlohmann::ordered_json& tools) {
  if (!tools.is_array()) fields.wrong_type("tools", "a list of functions");
  for (const nlohmann::ordered_json& tool : tools) {
    const bool function = tool.is_object() && tool.contains("function") && tool["function"].is_object() &&
                          tool["function"].contains("name") && tool["function"]["name"].is_string() &&
                          (!tool.contains("type") || tool["type"] == "function");
    if (!function) {
      fields.wrong_type("tools", R"(a list of {"type": "function", "function": {"name": …}})");
    }
  }
}

bool uses_tools(const Fields& fields) {
  const nlohmann::ordered_json* tools = fields.find("tools");
  const nlohmann::ordered_json* choice = fields.find("tool_choice");
  return tools != nullptr && !tools->empty() && (choice == nullptr || *choice != "none");
}

constexpr std::string_view kGenerationConfigFields[] = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"};

void read_generation_config(const nlohmann::ordered_json& config, const std::string& where, SamplingParams& sampling) {
  const Fields fields(config);
  try {
    sampling.temperature = fields.number("temperature").value_or(sampling.temperature);
    sampling.top_p = fields.number("top_p").value_or(sampling.top_p);
    sampling.min_p = fields.number("min_p").value_or(sampling.min_p);
    sampling.repetition_penalty = fields.number("repetition_penalty").value_or(sampling.repetition_penalty);
    if (const auto top_k = fields.integer("top_k", -1, std::numeric_limits<std::int32_t>::max())) {
      sampling.top_k = static_cast<std::uint32_t>(std::max<std::int64_t>(*top_k, 0));
    }
    validate(sampling);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", where, e.what()));
  }
}

}  // namespace

SamplingParams default_sampling(const std::string& directory) {
  SamplingParams sampling;
  sampling.temperature = 1;
  const std::filesystem::path path = std::filesystem::path(directory) / "generation_config.json";
  std::error_code ignored;
  if (directory.empty() || !std::filesystem::exists(path, ignored)) return sampling;
  const nlohmann::ordered_json config =
      parse_bounded_json(read_text_file(path, std::uint64_t{1} << 20), path.string(), kRestoreTheFile);
  if (!config.is_object()) throw Error(fmt::format("{}: expected a JSON object.", path.string()));
  read_generation_config(config, path.string(), sampling);
  return sampling;
}

void override_sampling(std::string_view json, const std::string& where, SamplingParams& sampling) {
  const nlohmann::ordered_json config = parse_bounded_json(json, where);
  if (!config.is_object()) throw Error(fmt::format("{}: expected a JSON object.", where));
  for (const auto& [key, value] : config.items()) {
    if (std::ranges::find(kGenerationConfigFields, key) == std::end(kGenerationConfigFields)) {
      throw Error(fmt::format("{}: \"{}\" is not supported; supported are {}.", where, printable(key),
                              fmt::join(kGenerationConfigFields, ", ")));
    }
  }
  read_generation_config(config, where, sampling);
}

nlohmann::ordered_json read_chat_template_kwargs(std::string_view json, const std::string& where) {
  nlohmann::ordered_json kwargs = parse_bounded_json(json, where);
  if (!kwargs.is_object()) throw Error(fmt::format("{}: expected a JSON object.", where));
  try {
    const Fields fields(kwargs);
    for (const char* name : {"thinking", "enable_thinking", "drop_thinking"}) fields.flag(name);
    if (const auto effort = fields.text("reasoning_effort"); effort && *effort != "none") {
      reasoning_effort(*effort, EncodingRelease::kPreview);
    }
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", where, e.what()));
  }
  return kwargs;
}

GenerationRequest read_completion_request(const Fields& fields, const Tokenizer& tokenizer,
                                          const RequestDefaults& defaults, const std::stop_token& gone) {
  GenerationRequest request = read_common(fields, defaults);
  if (fields.find("suffix") != nullptr) fields.refuse("suffix", "is not supported.");
  const nlohmann::ordered_json* prompt = fields.find("prompt");
  constexpr const char* kForms = "a string, a list of token ids, or a list of either";
  if (prompt == nullptr) fields.wrong_type("prompt", kForms);
  const bool special = fields.flag("add_special_tokens").value_or(true);
  if (prompt->is_string() || (prompt->is_array() && !prompt->empty() && is_token_id(prompt->front()))) {
    add_prompt(*prompt, special, tokenizer, defaults, gone, request);
  } else if (prompt->is_array() && !prompt->empty()) {
    if (prompt->size() > static_cast<std::size_t>(kMaxChoices)) {
      fields.refuse("prompt", fmt::format("has more than {} prompts.", kMaxChoices));
    }
    for (const nlohmann::ordered_json& each : *prompt) {
      if (!each.is_string() && !each.is_array()) fields.wrong_type("prompt", kForms);
      add_prompt(each, special, tokenizer, defaults, gone, request);
    }
  } else {
    fields.wrong_type("prompt", kForms);
  }
  request.echo = fields.flag("echo").value_or(false);
  const std::int64_t max_tokens = fields.integer("max_tokens", request.echo ? 0 : 1, kNoLimit).value_or(16);
  request.prompt_only = max_tokens == 0;
  request.params.max_tokens = static_cast<std::uint64_t>(std::max<std::int64_t>(max_tokens, 1));
  if (const auto logprobs = fields.integer("logprobs", 0, kMaxLogprobs)) {
    request.params.logprobs = static_cast<std::size_t>(*logprobs);
    request.params.prompt_logprobs = request.echo;
  }
  if (request.echo && request.stream) fields.refuse("echo", "is not supported with \"stream\": true.");
  check_fits(request, defaults);
  return request;
}

ChatPrompt chat_prompt(const nlohmann::ordered_json& body, const Tokenizer& tokenizer, const RequestDefaults& defaults,
                       const std::stop_token& gone) {
  const Fields fields(body);
  const EncodingRelease release = defaults.encoding;
  nlohmann::ordered_json default_kwargs = defaults.chat_template_kwargs;
  const nlohmann::ordered_json* given = fields.find("messages");
  if (given == nullptr || !given->is_array()) fields.wrong_type("messages", "a list of messages");
  if (given->empty()) fields.refuse("messages", "is empty.");
  nlohmann::ordered_json messages = *given;
  const auto add_to_system_message = [&](const char* name, const nlohmann::ordered_json& value) {
    if (!messages.front().is_object() || messages.front().value("role", nlohmann::ordered_json()) != "system") {
      const nlohmann::ordered_json system = {{"role", "system"}, {"content", ""}};
      messages.insert(messages.begin(), system);
    }
    messages.front()[name] = value;
  };
  if (const nlohmann::ordered_json* tools = fields.find("tools")) {
    check_tools(fields, *tools);
    if (uses_tools(fields)) add_to_system_message("tools", *tools);
  }
  if (const auto format = fields.object("response_format"); format && format->text("type") == "json_schema") {
    const auto described = format->object("json_schema");
    const nlohmann::ordered_json* schema = described ? described->find("schema") : nullptr;
    if (schema != nullptr) add_to_system_message("response_format", *schema);
  }
  MessageEncoding encoding;
  encoding.release = release;
  std::optional<std::string> effort = fields.text("reasoning_effort");
  std::optional<bool> thinking;
  std::optional<bool> drop_thinking;
  const auto read_kwargs = [&](const Fields& kwargs) {
    if (!thinking) thinking = kwargs.flag("thinking");
    if (!thinking) thinking = kwargs.flag("enable_thinking");
    if (!effort) effort = kwargs.text("reasoning_effort");
    // A request with an effort wants reasoning.
    if (!thinking && effort) thinking = effort != "none";
    if (!drop_thinking) drop_thinking = kwargs.flag("drop_thinking");
  };
  const auto kwargs = fields.object("chat_template_kwargs");
  read_kwargs(kwargs ? *kwargs : Fields(nlohmann::ordered_json::object()));
  if (thinking == false) default_kwargs.erase("reasoning_effort");
  read_kwargs(Fields(default_kwargs));
  if (effort == "none") effort.reset();
  if (thinking.value_or(false)) encoding.thinking_mode = ThinkingMode::kThinking;
  encoding.drop_thinking = drop_thinking.value_or(true);
  if (effort) encoding.reasoning_effort = reasoning_effort(*effort, release);
  try {
    return {chat_prompt_ids(tokenizer, encode_messages(messages, encoding), gone), encoding.thinking_mode};
  } catch (const ApiError&) {
    throw;
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "messages");
  }
}

GenerationRequest read_chat_request(const nlohmann::ordered_json& body, const Tokenizer& tokenizer,
                                    const RequestDefaults& defaults, const std::stop_token& gone) {
  const Fields fields(body);
  GenerationRequest request = read_common(fields, defaults);
  request.chat = true;
  ChatPrompt prompt = chat_prompt(body, tokenizer, defaults, gone);
  request.thinking_mode = prompt.thinking_mode;
  request.parse_tools = uses_tools(fields);
  // </think> and DSML may be special tokens; the parser must see them.
  if (request.thinking_mode == ThinkingMode::kThinking || request.parse_tools) {
    request.text.skip_special_tokens = false;
  }
  // Keeps the markup that the message is split by.
  const auto keep = [&](std::string_view token) {
    if (const auto id = tokenizer.token_to_id(token)) request.text.kept_special_tokens.push_back(*id);
  };
  if (request.thinking_mode == ThinkingMode::kThinking) keep(markup::kThinkEnd);
  if (request.parse_tools) keep(markup::kDsml);
  const std::size_t tokens = prompt.ids.size();
  request.prompts.push_back(std::move(prompt.ids));
  auto max_tokens = fields.integer("max_completion_tokens", 1, kNoLimit);
  if (!max_tokens) max_tokens = fields.integer("max_tokens", 1, kNoLimit);
  // Without max_tokens the output may fill the context.
  const std::uint64_t left = tokens < defaults.max_model_len ? defaults.max_model_len - tokens : 1;
  request.params.max_tokens = max_tokens ? static_cast<std::uint64_t>(*max_tokens) : left;
  const auto top_logprobs = fields.integer("top_logprobs", 0, kMaxLogprobs);
  if (fields.flag("logprobs").value_or(false)) {
    request.params.logprobs = static_cast<std::size_t>(top_logprobs.value_or(0));
  } else if (top_logprobs.value_or(0) != 0) {
    fields.refuse("top_logprobs", "requires \"logprobs\": true.");
  }
  check_fits(request, defaults);
  return request;
}

}  // namespace outrider
