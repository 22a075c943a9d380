#include "outrider/benchmark/base_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

[[noreturn]] void refuse(std::string_view url, std::string_view why) {
  throw Error(fmt::format("{} is not a valid server URL: {}. Expected http://host:port.", printable(url), why));
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

}  // namespace

std::string BaseUrl::authority() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string BaseUrl::text() const {
  return fmt::format("http://{}{}", authority(), path);
}

BaseUrl parse_base_url(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://")) {
    throw Error(fmt::format(
        "{}: HTTPS is not supported. Give the server's http:// address, or an http:// proxy in front of it.",
        printable(url)));
  }
  if (!url.starts_with(kScheme)) refuse(url, "it does not begin with http://");
  const auto odd = [](char c) { return c <= ' ' || c == 0x7f; };
  if (std::ranges::any_of(url, odd)) refuse(url, "there is a space or a control character in it");
  std::string_view rest = url.substr(kScheme.size());
  if (rest.find_first_of("?#@") != std::string_view::npos) refuse(url, "only host, port and path are allowed");
  BaseUrl out;
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  out.path = rest.substr(slash);
  while (out.path.ends_with('/')) out.path.pop_back();
  rest = rest.substr(0, slash);
  std::size_t colon = rest.rfind(':');
  if (rest.starts_with('[')) {
    const std::size_t bracket = rest.find(']');
    if (bracket == std::string_view::npos) refuse(url, "a bracket is not closed");
    out.host = rest.substr(1, bracket - 1);
    colon = bracket + 1;
    if (colon < rest.size() && rest[colon] != ':') refuse(url, "something other than a port follows the bracket");
  } else {
    out.host = rest.substr(0, colon);
  }
  if (out.host.empty()) refuse(url, "the host is missing");
  if (colon < rest.size()) {
    out.port = rest.substr(colon + 1);
    if (!is_port(out.port)) refuse(url, "the port must be a number from 1 to 65535");
  }
  return out;
}

}  // namespace outrider
