#include "outrider/hub/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string_view>
#include <system_error>

#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTokenBytes = 64 << 10;

// As huggingface_hub reads truth.
bool is_on(const Environment& environment, const std::string& name) {
  std::string value = environment(name).value_or("");
  for (char& c : value) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path expanded(const std::string& path, const Environment& environment) {
  if (path == "~" || path.starts_with("~/")) return environment("HOME").value_or("/") + path.substr(1);
  return path;
}

fs::path cache_home(const Environment& environment) {
  if (const auto xdg = environment("XDG_CACHE_HOME")) return expanded(*xdg, environment);
  return fs::path(environment("HOME").value_or("/")) / ".cache";
}

std::string stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin));
}

std::string read_token(const Environment& environment) {
  std::string token;
  std::string source = "HF_TOKEN";
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (token.empty()) token = stripped(environment(name).value_or(""));
  }
  if (token.empty()) {
    fs::path file;
    if (const auto path = environment("HF_TOKEN_PATH")) {
      file = expanded(*path, environment);
    } else if (const auto home = environment("HF_HOME")) {
      file = expanded(*home, environment) / "token";
    } else {
      file = cache_home(environment) / "huggingface" / "token";
    }
    source = printable(file.string(), 4096);
    std::error_code error;
    if (fs::is_regular_file(file, error)) token = stripped(read_text_file(file, kMaxTokenBytes));
  }
  if (std::ranges::any_of(token, [](unsigned char c) { return c <= ' ' || c >= 0x7f; })) {
    throw Error(
        fmt::format("{}: holds no token: there is a space or another character in it that no token has. Run "
                    "`hf auth login` again, or correct it.",
                    source));
  }
  return token;
}

}  // namespace

HubSettings read_hub_settings(const Environment& environment) {
  HubSettings out;
  out.environment = environment;
  try {
    out.endpoint = parse_url(environment("HF_ENDPOINT").value_or("https://huggingface.co"));
  } catch (const Error& error) {
    throw Error(fmt::format("HF_ENDPOINT: {}", error.what()));
  }
  while (out.endpoint.path.ends_with('/')) out.endpoint.path.pop_back();
  if (!is_on(environment, "HF_HUB_DISABLE_IMPLICIT_TOKEN")) out.token = read_token(environment);
  out.offline = is_on(environment, "HF_HUB_OFFLINE") || is_on(environment, "TRANSFORMERS_OFFLINE");
  if (const auto text = environment("HF_HUB_DOWNLOAD_TIMEOUT")) {
    unsigned seconds = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (error != std::errc{} || end != text->data() + text->size() || seconds == 0 || seconds > 3600) {
      throw Error(fmt::format("HF_HUB_DOWNLOAD_TIMEOUT is {}; give seconds, from 1 to 3600.", printable(*text)));
    }
    out.timeout = std::chrono::seconds(seconds);
  }
  const auto cache = environment("OUTRIDER_CACHE");
  out.cache = cache ? expanded(*cache, environment) : cache_home(environment) / "outrider";
  return out;
}

bool may_carry_token(const Url& url, const Url& endpoint) {
  return url.tls == endpoint.tls && url.host == endpoint.host && url.port == endpoint.port;
}

}  // namespace outrider
