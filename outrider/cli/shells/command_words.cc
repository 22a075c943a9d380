#include "outrider/cli/shells/command_words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "outrider/cli/options/count_option.h"
#include "outrider/cli/options/vllm_flags.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {
    {"-sc", "--speculative-config"},
    {"--spec-method", "--speculative-config.method"},
    {"--spec-model", "--speculative-config.model"},
    {"--spec-tokens", "--speculative-config.num_speculative_tokens"},
    {"-q", "--quantization"},
    {"--max-num-queued-reqs", "--max-waiting"},
    {"--no-enable-log-requests", "--disable-log-requests"},
};

// "--name.field=value", taken apart.
struct Flag {
  std::string name;
  std::string field;
  std::optional<std::string> value;
};

Flag take_apart(std::string_view word) {
  Flag flag;
  const std::size_t equals = word.find('=');
  if (equals != std::string_view::npos) flag.value = word.substr(equals + 1);
  const std::string_view head = word.substr(0, equals);
  const std::size_t dot = head.find('.');
  flag.name = head.substr(0, dot);
  if (dot != std::string_view::npos) flag.field = head.substr(dot + 1);
  if (flag.name.starts_with("--")) std::ranges::replace(flag.name, '_', '-');
  // -O3, as compilers take it.
  if (flag.name.size() > 2 && flag.name.starts_with("-O")) {
    flag.value = flag.name.substr(2);
    flag.name = "-O";
  }
  return flag;
}

// A field's value as vLLM reads it: JSON, a number such as 4k, else text.
nlohmann::json field_value(const std::string& text) {
  if (text == "True" || text == "False") return text == "True";
  try {
    return parse_bounded_json(text, "");
  } catch (const Error&) {
    const std::optional<std::uint64_t> count = parse_count(text);
    return count ? nlohmann::json(*count) : nlohmann::json(text);
  }
}

std::optional<bool> truth(std::string_view text) {
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  return std::nullopt;
}

class Reader {
 public:
  Reader(const CLI::App& command, std::span<const std::string> words) : command_(command), words_(words) {}

  std::vector<std::string> read() {
    while (!words_.empty()) {
      const std::string word = next();
      if (word == "--") {
        out_.push_back(word);
        out_.insert(out_.end(), words_.begin(), words_.end());
        break;
      }
      if (word.size() < 2 || word[0] != '-' || !read_flag(word)) out_.push_back(word);
    }
    if (model_) out_.insert(out_.begin(), *model_);
    return std::move(out_);
  }

 private:
  std::string next() {
    std::string word = words_.front();
    words_ = words_.subspan(1);
    return word;
  }

  // Whether the word was understood.
  bool read_flag(const std::string& word) {
    Flag flag = take_apart(word);
    if (takes_vllm_flags() && !is_known(flag.name)) complete(flag);
    if (own(flag.name) == nullptr) {
      for (const auto& [name, target] : kOtherNames) {
        if (flag.name != name) continue;
        const Flag other = take_apart(target);
        if (own(other.name) != nullptr) {
          flag.name = other.name;
          if (!other.field.empty()) flag.field = other.field;
        }
      }
    }
    if (const CLI::Option* option = own(flag.name)) {
      read_own(*option, flag);
      return true;
    }
    if (!takes_vllm_flags()) return false;
    if (flag.name == "--model") {
      model_ = value_of(flag);
      return true;
    }
    const std::optional<VllmFlag> known = find_vllm_flag(flag.name);
    if (known) read_vllm(*known, flag);
    return known.has_value();
  }

  void read_own(const CLI::Option& option, const Flag& flag) {
    if (!flag.field.empty()) {
      add_field(flag.name, flag, {flag.name, ""});
    } else if (option.get_items_expected_min() == 0) {  // a switch
      out_.push_back(flag.name + (flag.value ? "=" + *flag.value : ""));
    } else if (!flag.value && words_.empty()) {  // CLI11 says what is missing
      out_.push_back(flag.name);
    } else {
      place(flag.name, {flag.name, ""}, flag.value ? *flag.value : next());
    }
  }

  void read_vllm(const VllmFlag& known, const Flag& flag) {
    const Form form{"", fmt::format("{}={}=", kVllmFlagOption, known.name)};
    if (!flag.field.empty()) return add_field(known.name, flag, form);
    if (known.value == FlagValue::kSwitch) {
      std::optional<bool> on = flag.value ? truth(*flag.value) : std::nullopt;
      if (flag.value && !on) {
        throw Error(fmt::format("{}: \"{}\" is neither true nor false.", flag.name, printable(*flag.value)));
      }
      if (!flag.value && !words_.empty() && (on = truth(words_.front()))) next();
      const bool value = on.value_or(true) != known.negated;
      const std::string off = "--no-" + known.name.substr(2);
      out_.push_back(!value && own(off) != nullptr ? off : form.prefix + (value ? "true" : "false"));
      return;
    }
    std::string value = value_of(flag);
    while (known.value == FlagValue::kSeveral && !words_.empty() && words_.front()[0] != '-') value += " " + next();
    place(known.name, form, value);
  }

  std::string value_of(const Flag& flag) {
    if (flag.value) return *flag.value;
    if (words_.empty() || words_.front().starts_with("--")) {
      throw Error(fmt::format("{}: its value is missing.", flag.name));
    }
    return next();
  }

  // How a value is written: a word before it, where there is one, and what it begins with.
  struct Form {
    std::string word;
    std::string prefix;
  };
  struct Given {
    Form form;
    std::optional<std::size_t> at;  // in out_: the value
    std::string whole;              // as it was given, if it was
    nlohmann::json fields;
  };

  Given& given(const std::string& name, const Form& form) {
    Given& given = given_[name];
    if (given.at) return given;
    given.form = form;
    if (!form.word.empty()) out_.push_back(form.word);
    out_.emplace_back();
    given.at = out_.size() - 1;
    return given;
  }

  void write(const std::string& name, const Given& given) {
    std::string value = given.whole;
    if (!given.fields.is_null()) {
      nlohmann::json json = value.empty() ? nlohmann::json::object() : parse_bounded_json(value, name);
      if (!json.is_object()) throw Error(fmt::format("{}: a JSON object is expected, as its fields are given.", name));
      json.merge_patch(given.fields);
      value = json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    }
    out_[*given.at] = given.form.prefix + value;
  }

  // A whole value. Of a flag of vLLM's the last one counts; CLI11 says what options of our own may be repeated.
  void place(const std::string& name, const Form& form, std::string value) {
    const auto before = given_.find(name);
    if (own(name) != nullptr && before != given_.end() && before->second.fields.is_null()) {
      out_.insert(out_.end(), {form.word, std::move(value)});
      return;
    }
    Given& flag = given(name, form);
    flag.whole = std::move(value);
    write(name, flag);
  }

  void add_field(const std::string& name, const Flag& flag, const Form& form) {
    std::string path = flag.field;
    const bool append = path.ends_with('+');
    if (append) path.pop_back();
    nlohmann::json value;
    const std::string text = value_of(flag);
    if (append) {
      value = nlohmann::json::array();
      for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find(',', at), text.size());
        value.push_back(text.substr(at, end - at));
        at = end + 1;
      }
    } else {
      value = field_value(text);
    }
    constexpr int kMaxDepth = 32;
    int depth = 0;
    for (std::size_t dot = path.rfind('.');; dot = path.rfind('.')) {
      const std::string key = dot == std::string::npos ? path : path.substr(dot + 1);
      if (key.empty() || ++depth > kMaxDepth) {
        throw Error(fmt::format("{}.{}: this names no field.", name, printable(flag.field)));
      }
      value = nlohmann::json{{key, std::move(value)}};
      if (dot == std::string::npos) break;
      path.resize(dot);
    }
    Given& whole = given(name, form);
    if (append) keep_elements(whole.fields, value);
    whole.fields.merge_patch(value);
    write(name, whole);
  }

  // The elements that a list has already, before those that `patch` adds to it.
  static void keep_elements(const nlohmann::json& fields, nlohmann::json& patch) {
    for (auto& [key, value] : patch.items()) {
      const auto found = fields.find(key);
      if (!fields.is_object() || found == fields.end()) continue;
      if (value.is_object() && found->is_object()) keep_elements(*found, value);
      if (value.is_array() && found->is_array()) value.insert(value.begin(), found->begin(), found->end());
    }
  }

  const CLI::Option* own(const std::string& name) const { return command_.get_option_no_throw(name); }
  bool takes_vllm_flags() const { return own(kVllmFlagOption) != nullptr; }
  bool is_known(const std::string& name) const {
    const auto* const other =
        std::ranges::find(kOtherNames, name, &std::pair<std::string_view, std::string_view>::first);
    return own(name) != nullptr || other != std::end(kOtherNames) || find_vllm_flag(name) || name == "--model";
  }

  // The beginning of a name stands for it, as in vLLM, where only one begins so.
  void complete(Flag& flag) const {
    if (!flag.name.starts_with("--") || flag.name.size() < 5) return;
    std::vector<std::string> names = vllm_flag_names();
    for (const CLI::Option* option : command_.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    std::erase_if(names, [&](const std::string& name) { return !name.starts_with(flag.name); });
    if (names.size() > 1) {
      throw Error(fmt::format("{} could be {}. Give the name in full.", flag.name, fmt::join(names, ", ")));
    }
    if (names.size() == 1) flag.name = names[0];
  }

  const CLI::App& command_;
  std::span<const std::string> words_;
  std::vector<std::string> out_;
  std::map<std::string, Given> given_;
  std::optional<std::string> model_;  // of --model
};

}  // namespace

std::vector<std::string> command_words(const CLI::App& program, std::vector<std::string> words) {
  const CLI::App* command = &program;
  std::size_t commands = 0;
  for (; commands < words.size(); ++commands) {
    const auto below =
        command->get_subcommands([&](const CLI::App* app) { return app->get_name() == words[commands]; });
    if (below.empty()) break;
    command = below[0];
  }
  if (commands == 0) return words;
  const std::vector<std::string> rest = Reader(*command, std::span(words).subspan(commands)).read();
  words.resize(commands);
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

}  // namespace outrider
