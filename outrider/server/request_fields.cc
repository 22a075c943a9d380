#include "outrider/server/request_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "outrider/util/printable.h"

namespace outrider {
namespace {

using enum FieldTreatment;

constexpr unsigned kCompletion = static_cast<unsigned>(FieldPlace::kCompletion);
constexpr unsigned kChat = static_cast<unsigned>(FieldPlace::kChat);
constexpr unsigned kBoth = kCompletion + kChat;
constexpr unsigned kTokenize = static_cast<unsigned>(FieldPlace::kTokenize);
constexpr unsigned kDetokenize = static_cast<unsigned>(FieldPlace::kDetokenize);
constexpr unsigned kChatPrompt = kChat + kTokenize;
constexpr unsigned kOptions = static_cast<unsigned>(FieldPlace::kStreamOptions);
constexpr unsigned kKwargs = static_cast<unsigned>(FieldPlace::kTemplateKwargs);
constexpr unsigned kMessage = static_cast<unsigned>(FieldPlace::kMessage);
constexpr unsigned kThinkingObject = static_cast<unsigned>(FieldPlace::kThinking);

// clang-format off
constexpr RequestField kFields[] = {
    {"model", kBoth + kTokenize + kDetokenize, kObeyed, "a name that the server serves; its first if absent"},
    {"prompt", kCompletion + kTokenize, kObeyed, "a string, a list of token ids, or (not for `/tokenize`) a list of either"},
    {"messages", kChatPrompt, kObeyed, "a list; its fields are below"},
    {"tokens", kDetokenize, kObeyed, "a list of token ids"},
    {"return_token_strs", kTokenize, kObeyed, "the tokens as they are spelled in tokenizer.json, too"},
    {"tools", kChatPrompt, kObeyed, "functions that the model may call"},
    {"tool_choice", kChatPrompt, kObeyed, "`none`, `auto`, `required` or a function"},
    {"parallel_tool_calls", kChat, kObeyed, "if false, the message has at most one call"},
    {"response_format", kBoth + kTokenize, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"structured_outputs", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"guided_json", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"guided_regex", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"guided_choice", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"guided_grammar", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"guided_decoding_backend", kBoth, kIgnored, "there is one implementation"},
    {"guided_whitespace_pattern", kBoth, kRefused, "is not supported: white space is as docs/structured-output.md says", "[]"},
    {"structural_tag", kBoth, kRefused, "is not supported: use tools", "[]"},
    {"grammar", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},
    {"json_schema", kBoth, kObeyed, "see [structured-output.md](structured-output.md)"},

    {"max_tokens", kBoth, kObeyed, "maximum number of output tokens; without it completions have 16, chats what the context leaves"},
    {"max_completion_tokens", kChat, kObeyed, "takes precedence over `max_tokens`"},
    {"min_tokens", kBoth, kObeyed, "end-of-sentence and stop tokens are forbidden, and stop strings ignored, within this number of output tokens. The output may still end earlier if a constraint allows nothing else"},
    {"stop", kBoth, kObeyed, "a string, or a list of up to 64"},
    {"stop_token_ids", kBoth, kObeyed, ""},
    {"include_stop_str_in_output", kBoth, kObeyed, ""},
    {"ignore_eos", kBoth, kObeyed, ""},
    {"temperature", kBoth, kObeyed, "0 is greedy"},
    {"top_p", kBoth, kObeyed, ""},
    {"top_k", kBoth, kObeyed, "0 and -1 are all"},
    {"min_p", kBoth, kObeyed, ""},
    {"seed", kBoth, kObeyed, "the same seed gives the same output; -1 is random"},
    {"presence_penalty", kBoth, kObeyed, ""},
    {"frequency_penalty", kBoth, kObeyed, ""},
    {"repetition_penalty", kBoth, kObeyed, ""},
    {"logit_bias", kBoth, kObeyed, "from -100 to 100"},
    {"bad_words", kBoth, kObeyed, "the tokens of each word, with and without a space before it, do not follow one another in the output. Other tokens may spell the same text. Up to 64 KiB in all"},
    {"allowed_token_ids", kBoth, kObeyed, "the output has no others: without the end-of-sentence token it does not end before `max_tokens`"},
    {"thinking_token_budget", kBoth, kObeyed, "`</think>` is forced after this number of reasoning tokens, unless it came before; -1: no limit. If a character is incomplete or a constraint forbids it, it is forced as soon as it is allowed"},
    {"n", kBoth, kObeyed, "choices per prompt, up to 128"},
    {"best_of", kBoth, kObeyed, "must equal `n`"},
    {"stream", kBoth, kObeyed, ""},
    {"stream_options", kBoth, kObeyed, "its fields are below"},
    {"logprobs", kBoth, kObeyed, "completions: the number of most likely tokens, up to 20; chats: true or false"},
    {"top_logprobs", kChat, kObeyed, "up to 20, with `logprobs`"},
    {"logprob_token_ids", kBoth, kObeyed, "logprobs of these tokens and of the sampled one instead of the most likely ones, up to 128, with `logprobs`"},
    {"prompt_logprobs", kBoth, kObeyed, "for each token of the prompt its logprob and rank and those of the most likely tokens, up to 20; not with `stream`"},
    {"echo", kBoth, kObeyed, "completions: the text begins with the prompt, not with `stream`; chats: the content begins with that of the last message, if that has the same role"},
    {"truncate_prompt_tokens", kBoth, kObeyed, "keep this number of tokens of the prompt; -1: what `max_tokens`, or one token, leaves of the context"},
    {"truncation_side", kBoth, kObeyed, "`left` (default) keeps the last tokens, `right` the first"},
    {"add_special_tokens", kBoth + kTokenize, kObeyed, "plain prompts begin with the beginning-of-sentence token unless false; chats have it anyway, and if true also the tokens that tokenizer.json adds"},
    {"add_generation_prompt", kChatPrompt, kObeyed, "if false, the last message is not followed by the marker of the assistant's turn, and the message that is generated has its role"},
    {"continue_final_message", kChatPrompt, kObeyed, "the last message is left open and continued: the assistant's in its content, or in its reasoning if it has no content. Not with `\"add_generation_prompt\": true`"},
    {"reasoning_effort", kChatPrompt, kObeyed, "`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`"},
    {"thinking", kChatPrompt, kObeyed, "`{\"type\": \"enabled\"}` or `\"disabled\"`, as in DeepSeek's API"},
    {"chat_template_kwargs", kChatPrompt, kObeyed, "its fields are below"},
    {"include_reasoning", kChat, kObeyed, "if false, the reasoning is generated but not returned, and neither are logprobs and token ids of the message"},
    {"skip_special_tokens", kBoth, kObeyed, "if false, the text has special tokens, too; but a message never has the markers of DeepSeek's prompts"},
    {"return_tokens", kBoth, kObeyed, "each token's id, text, and whether it was drafted"},
    {"return_token_ids", kBoth, kObeyed, "`token_ids` and `prompt_token_ids`"},
    {"return_tokens_as_token_ids", kBoth, kObeyed, "tokens in logprobs are spelled `token_id:N`"},
    {"return_prompt_text", kChat, kObeyed, "`prompt_text`, the encoded messages"},
    {"cache_salt", kBoth, kObeyed, "a request with a salt shares no prefix with any other"},
    {"request_id", kBoth, kObeyed, "the part of the response's `id` after the dash"},

    {"user", kBoth, kIgnored, "a label for the provider's records"},
    {"safety_identifier", kChat, kIgnored, "a label for the provider's records"},
    {"metadata", kChat, kIgnored, "labels for the provider's records"},
    {"store", kChat, kIgnored, "nothing is stored"},
    {"service_tier", kChat, kIgnored, "there is one tier"},
    {"session_id", kBoth, kIgnored, "a label; prefixes are reused without it"},
    {"prompt_cache_key", kChat, kIgnored, "prefixes are reused without it"},
    {"prompt_cache_retention", kChat, kIgnored, "prefixes are kept until the memory is needed"},
    {"prompt_cache_options", kChat, kIgnored, "prefixes are kept until the memory is needed"},
    {"prediction", kChat, kIgnored, "a hint for speed; drafts come from the model's drafter"},
    {"cache_prompt", kBoth, kIgnored, "llama.cpp's; reuse of a prefix never changes the output"},
    {"id_slot", kBoth, kIgnored, "llama.cpp's; any sequence may serve a request"},
    {"stream_interval", kBoth, kIgnored, "each step's tokens are sent at once"},
    {"spaces_between_special_tokens", kBoth, kIgnored, "no spaces are added, as by vLLM with fast tokenizers"},
    {"watermarking", kBoth, kIgnored, "no watermark is configured"},
    {"return_token_offsets", kBoth, kIgnored, "of vLLM's render endpoints only"},
    {"mm_payload", kBoth, kIgnored, "of vLLM's render endpoints only"},
    {"return_mm_kwargs", kBoth, kIgnored, "of vLLM's render endpoints only"},
    {"routed_experts_prompt_start", kBoth, kIgnored, "routed experts are not returned"},
    {"mirostat_tau", kBoth, kIgnored, "no effect without `mirostat`"},
    {"mirostat_eta", kBoth, kIgnored, "no effect without `mirostat`"},
    {"dry_base", kBoth, kIgnored, "no effect without `dry_multiplier`"},
    {"dry_allowed_length", kBoth, kIgnored, "no effect without `dry_multiplier`"},
    {"dry_penalty_last_n", kBoth, kIgnored, "no effect without `dry_multiplier`"},
    {"dry_sequence_breakers", kBoth, kIgnored, "no effect without `dry_multiplier`"},
    {"xtc_threshold", kBoth, kIgnored, "no effect without `xtc_probability`"},
    {"dynatemp_exponent", kBoth, kIgnored, "no effect without `dynatemp_range`"},
    {"repeat_last_n", kBoth, kIgnored, "no effect without `repeat_penalty`"},
    {"adaptive_decay", kBoth, kIgnored, "no effect without `adaptive_target`"},
    {"speculative.n_max", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.n_min", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.p_min", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.type", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.ngram_size_n", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.ngram_size_m", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"speculative.ngram_min_hits", kBoth, kIgnored, "llama.cpp's; drafts never change the output"},
    {"n_cache_reuse", kBoth, kIgnored, "llama.cpp's; reuse of a prefix never changes the output"},
    {"backend_sampling", kBoth, kIgnored, "llama.cpp's; there is one way to sample"},
    {"sse_ping_interval", kBoth, kIgnored, "llama.cpp's; nothing but output is sent"},

    {"use_beam_search", kBoth, kRefused, "is not supported: each choice is sampled by itself", "[false]"},
    {"length_penalty", kBoth, kRefused, "is not supported: it needs beam search", "[1]"},
    {"early_stopping", kBoth, kRefused, "is not supported: it needs beam search", "[false]"},
    {"suffix", kCompletion, kRefused, "is not supported: put the tokens for infilling into the prompt", "[\"\"]"},
    {"prompt_embeds", kCompletion, kRefused, "is not supported: send a prompt", "[[]]"},
    {"logits_processors", kBoth, kRefused, "is not supported: requests bring no code", "[[]]"},
    {"vllm_xargs", kBoth, kRefused, "is not supported: there are no extensions that read it", "[{}]"},
    {"kv_transfer_params", kBoth, kRefused, "is not supported: prompts are processed where they are continued", "[{}]"},
    {"ec_transfer_params", kBoth, kRefused, "is not supported: there is no encoder", "[{}]"},
    {"mm_processor_kwargs", kChatPrompt, kRefused, "is not supported: the model reads text only", "[{}]"},
    {"media_io_kwargs", kChatPrompt, kRefused, "is not supported: the model reads text only", "[{}]"},
    {"priority", kBoth, kRefused, "is not supported: requests are admitted in the order in which they arrive", "[0]"},
    {"repetition_detection", kBoth, kRefused, "is not supported: use repetition_penalty", "[]"},
    {"return_weight_versions", kBoth, kRefused, "is not supported: weights do not change while the server runs", "[false]"},
    {"documents", kChat, kRefused, "is not supported: the model's prompts have no documents; put them into a message", "[[]]"},
    {"chat_template", kChatPrompt, kRefused, "is not supported: chats are encoded as the model was trained", "[]"},
    {"reasoning", kChat, kRefused, "is not supported: use reasoning_effort and thinking_token_budget", "[]"},
    {"enable_thinking", kChat, kRefused, "is not supported here: send it in chat_template_kwargs", "[]"},
    {"thinking_budget", kBoth, kRefused, "is not supported: use thinking_token_budget", "[]"},
    {"thinking_budget_tokens", kBoth, kRefused, "is not supported: use thinking_token_budget", "[-1]"},
    {"reasoning_budget_tokens", kBoth, kRefused, "is not supported: use thinking_token_budget", "[-1]"},
    {"reasoning_budget_message", kBoth, kRefused, "is not supported: </think> follows the budget at once", R"([""])"},
    {"reasoning_budget", kBoth, kRefused, "is not supported: use thinking_token_budget", "[-1]"},
    {"reasoning_format", kBoth, kRefused, "is not supported: reasoning is returned as reasoning_content", R"(["auto", "deepseek"])"},
    {"functions", kChat, kRefused, "is not supported: use tools", "[[]]"},
    {"function_call", kChat, kRefused, "is not supported: use tool_choice", R"(["none", "auto"])"},
    {"modalities", kChat, kRefused, "is not supported: the model generates text only", R"([["text"], []])"},
    {"audio", kChat, kRefused, "is not supported: the model generates text only", "[]"},
    {"web_search_options", kChat, kRefused, "is not supported: the server searches nothing", "[]"},
    {"moderation", kChat, kRefused, "is not supported: the server moderates nothing", "[]"},
    {"verbosity", kChat, kRefused, "is not supported: the model's prompts have no such setting", R"(["medium"])"},
    {"extra_body", kBoth, kRefused, "belongs to the client: its fields are sent beside the others", "[{}]"},
    {"max_completion_tokens", kCompletion, kRefused, "is a field of chats: use max_tokens", "[]"},
    {"max_new_tokens", kBoth, kRefused, "is not supported: use max_tokens", "[]"},
    {"n_predict", kBoth, kRefused, "is not supported: use max_tokens", "[]"},
    {"n_probs", kBoth, kRefused, "is not supported: use logprobs", "[0]"},
    {"repeat_penalty", kBoth, kRefused, "is not supported: use repetition_penalty", "[1]"},
    {"typical_p", kBoth, kRefused, "is not supported: use top_p or min_p", "[1]"},
    {"typ_p", kBoth, kRefused, "is not supported: use top_p or min_p", "[1]"},
    {"tfs_z", kBoth, kRefused, "is not supported: use top_p or min_p", "[1]"},
    {"top_a", kBoth, kRefused, "is not supported: use top_p or min_p", "[0]"},
    {"top_n_sigma", kBoth, kRefused, "is not supported: use top_p or min_p", "[-1, 0]"},
    {"mirostat", kBoth, kRefused, "is not supported: use temperature and top_p", "[0]"},
    {"dry_multiplier", kBoth, kRefused, "is not supported: use repetition_penalty", "[0]"},
    {"xtc_probability", kBoth, kRefused, "is not supported: use temperature and min_p", "[0]"},
    {"dynatemp_range", kBoth, kRefused, "is not supported: use temperature", "[0]"},
    {"adaptive_target", kBoth, kRefused, "is not supported: use temperature", "[-1]"},
    {"samplers", kBoth, kRefused, "is not supported: filters apply in vLLM's order", "[]"},
    {"min_keep", kBoth, kRefused, "is not supported: filters keep at least one token", "[0, 1]"},
    {"n_keep", kBoth, kRefused, "is not supported: a prompt that does not fit is refused", "[0]"},
    {"n_discard", kBoth, kRefused, "is not supported: a prompt that does not fit is refused", "[0]"},
    {"n_indent", kBoth, kRefused, "is not supported: constrain the output instead", "[0]"},
    {"n_cmpl", kBoth, kRefused, "is not supported: use n", "[1]"},
    {"t_max_prompt_ms", kBoth, kRefused, "is not supported: use truncate_prompt_tokens", "[0, -1]"},
    {"t_max_predict_ms", kBoth, kRefused, "is not supported: use max_tokens", "[0, -1]"},
    {"post_sampling_probs", kBoth, kRefused, "is not supported: logprobs are the model's", "[false]"},
    {"timings_per_token", kBoth, kRefused, "is not supported: see /metrics", "[false]"},
    {"return_progress", kBoth, kRefused, "is not supported: see /metrics", "[false]"},
    {"verbose", kBoth, kRefused, "is not supported: see return_tokens and return_prompt_text", "[false]"},
    {"parse_tool_calls", kBoth, kRefused, "is not supported: tool calls are parsed if there are tools", "[true]"},
    {"grammar_lazy", kBoth, kRefused, "is not supported: a grammar applies from the first token", "[false]"},
    {"grammar_triggers", kBoth, kRefused, "is not supported: a grammar applies from the first token", "[[]]"},
    {"preserved_tokens", kBoth, kRefused, "is not supported: use skip_special_tokens", "[[]]"},
    {"response_fields", kBoth, kRefused, "is not supported: responses are whole", "[[]]"},
    {"lora", kBoth, kRefused, "is not supported: there are no adapters", "[[]]"},
    {"image_data", kBoth, kRefused, "is not supported: the model reads text only", "[[]]"},
    {"input_prefix", kCompletion, kRefused, "is not supported: put it into the prompt", R"([""])"},
    {"input_suffix", kCompletion, kRefused, "is not supported: put it into the prompt", R"([""])"},

    {"include_usage", kOptions, kObeyed, "the last event has the usage"},
    {"continuous_usage_stats", kOptions, kObeyed, "with `include_usage`, each event has the usage so far"},
    {"include_obfuscation", kOptions, kIgnored, "ignored: nothing is padded"},

    {"thinking", kKwargs, kObeyed, "true or false"},
    {"enable_thinking", kKwargs, kObeyed, "the same"},
    {"reasoning_effort", kKwargs, kObeyed, "as the request's"},
    {"drop_thinking", kKwargs, kObeyed, "if false, the reasoning of earlier messages stays in the prompt"},
    {"thinking_budget", kKwargs, kRefused, "is not supported: use the request's thinking_token_budget", "[]"},
    {"thinking_token_budget", kKwargs, kRefused, "is not supported here: it is a field of the request", "[]"},
    {"preserve_thinking", kKwargs, kRefused, "is not supported: use drop_thinking", "[false]"},
    {"clear_thinking", kKwargs, kRefused, "is not supported: use drop_thinking", "[true]"},

    {"type", kThinkingObject, kObeyed, "`enabled` or `disabled`"},
    {"budget_tokens", kThinkingObject, kRefused, "is not supported: use thinking_token_budget", "[]"},

    {"role", kMessage, kObeyed, "`system`, `developer`, `user`, `assistant`, `tool` or `latest_reminder`"},
    {"content", kMessage, kObeyed, "a string, or a list of parts of type `text`, which are joined by blank lines; their other keys (`cache_control`) are ignored. Images, audio, video and files are refused"},
    {"reasoning_content", kMessage, kObeyed, "of the assistant; kept in the prompt after the last question, or with `drop_thinking` false"},
    {"reasoning", kMessage, kObeyed, "vLLM's name of `reasoning_content`"},
    {"tool_calls", kMessage, kObeyed, "of the assistant"},
    {"tool_call_id", kMessage, kObeyed, "of a tool's result"},
    {"tools", kMessage, kObeyed, "of a system or developer message"},
    {"response_format", kMessage, kObeyed, "of a system or developer message"},
    {"task", kMessage, kObeyed, "of DeepSeek's encoding"},
    {"wo_eos", kMessage, kObeyed, "of DeepSeek's encoding"},
    {"prefix", kMessage, kObeyed, "of the last message: as `continue_final_message`, as in DeepSeek's API"},
    {"name", kMessage, kIgnored, "ignored: the model's prompts contain no participant names"},
    {"id", kMessage, kIgnored, "ignored: the client's own label"},
    {"mask", kMessage, kIgnored, "ignored: used in training only"},
    {"refusal", kMessage, kRefused, "is not supported: the model's prompts have no refusals; send content", "[]"},
    {"annotations", kMessage, kIgnored, "ignored: the model's prompts have none"},
    {"audio", kMessage, kRefused, "is not supported: the model reads text only", "[]"},
    {"function_call", kMessage, kRefused, "is not supported: use tool_calls", "[]"},
};
// clang-format on

// The number of letters to insert, delete, replace or exchange with their neighbour.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before;
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> next = {i};
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next.push_back(std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)}));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before = std::exchange(row, std::move(next));
  }
  return row.back();
}

// The field that `name`, or the part after its first underscore, nearly spells.
std::string suggestion(std::string_view name, FieldPlace place) {
  std::string_view nearest;
  std::size_t least = 4;
  if (name.size() > 64) return {};
  for (const std::string_view spelling : {name, name.substr(name.find('_') + 1)}) {
    for (const RequestField& field : kFields) {
      if ((field.places & static_cast<unsigned>(place)) == 0 || field.treatment != kObeyed) continue;
      const std::size_t distance = edits(spelling, field.name);
      if (distance > spelling.size() / 3 || distance >= least) continue;
      least = distance;
      nearest = field.name;
    }
  }
  return nearest.empty() ? std::string() : fmt::format(" Did you mean {}?", nearest);
}

}  // namespace

std::span<const RequestField> request_fields() {
  return kFields;
}

void check_fields(const Fields& fields, FieldPlace place) {
  for (const auto& [name, value] : fields.object().items()) {
    if (value.is_null()) continue;
    const auto* field = std::ranges::find_if(kFields, [&, &key = name](const RequestField& each) {
      return each.name == key && (each.places & static_cast<unsigned>(place)) != 0;
    });
    if (field == std::end(kFields)) {
      fields.refuse(printable(name),
                    fmt::format("is not a field that the server knows.{} docs/request-fields.md lists all.",
                                suggestion(name, place)));
    }
    if (field->treatment != kRefused) continue;
    const auto accepted = nlohmann::ordered_json::parse(field->accepted);
    if (std::ranges::find(accepted, value) == accepted.end()) fields.refuse(name, fmt::format("{}.", field->text));
  }
}

}  // namespace outrider
