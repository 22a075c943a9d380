#include "outrider/cli/options/count_option.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::uint64_t read_count(const std::string& option, const std::string& text, std::uint64_t least, std::uint64_t most,
                         const char* also) {
  const std::optional<std::uint64_t> count = parse_count(text);
  if (count && *count >= least && *count <= most) return *count;
  const std::string range = most == kMost ? fmt::format("{} or more", least) : fmt::format("{} to {}", least, most);
  throw Error(fmt::format("{}: \"{}\" is not a count. It must be {}, written as 4096, 4k (4000) or 4K (4096){}.",
                          option, printable(text), range, also));
}

}  // namespace

std::optional<std::uint64_t> parse_count(std::string_view text) {
  constexpr std::string_view kDecimal = "kmgt";
  constexpr std::string_view kBinary = "KMGT";
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  const char suffix = text.back();
  const std::string_view digits = text.substr(0, text.size() - 1);
  if (const std::size_t power = kDecimal.find(suffix); power != std::string_view::npos) {
    const std::optional<double> value =
        digits.find('e') == std::string_view::npos ? number<double>(digits) : std::nullopt;
    const double count = value ? *value * std::pow(1000.0, static_cast<double>(power + 1)) : -1;
    if (count < 0 || count >= static_cast<double>(kMost)) return std::nullopt;
    return static_cast<std::uint64_t>(count);
  }
  const std::size_t power = kBinary.find(suffix);
  const std::optional<std::uint64_t> value = number<std::uint64_t>(power == std::string_view::npos ? text : digits);
  const std::size_t shift = power == std::string_view::npos ? 0 : 10 * (power + 1);
  if (!value || *value > (kMost >> shift)) return std::nullopt;
  return *value << shift;
}

CLI::Option* add_count_option(CLI::App& command, const std::string& name, std::size_t& value, std::uint64_t least,
                              std::uint64_t most, const std::string& description) {
  return command
      .add_option_function<std::string>(
          name,
          [&value, name, least, most](const std::string& text) { value = read_count(name, text, least, most, ""); },
          description)
      ->default_str(std::to_string(value))
      ->type_name("COUNT");
}

void add_max_model_len_option(CLI::App& command, std::optional<std::uint64_t>& value, const std::string& description) {
  const std::string name = "--max-model-len";
  command
      .add_option_function<std::string>(
          name,
          [&value, name](const std::string& text) {
            value.reset();
            if (text != "auto" && text != "-1") value = read_count(name, text, 1, kMost, ", or auto");
          },
          description)
      ->type_name("COUNT");
}

}  // namespace outrider
