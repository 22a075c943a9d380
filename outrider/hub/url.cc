#include "outrider/hub/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxUrl = 16 << 10;  // signed URLs of storage hosts have about 2,000 characters
constexpr std::string_view kHttps = "https://";
constexpr std::string_view kHttp = "http://";

[[noreturn]] void refuse_url(std::string_view url, std::string_view why) {
  throw Error(fmt::format("{}: is not a usable URL: {}. Give https://HOST/PATH.", printable(url), why));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65535;
}

bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::ranges::all_of(host, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == ':' || c == '%';
  });
}

// "." and ".." removed, as RFC 3986 (5.2.4) does.
std::string without_dots(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t next = std::min(path.find('/', 1), path.size());
    const std::string_view segment = path.substr(0, next);
    path.remove_prefix(next);
    if (segment == "/..") {
      out.resize(out.find_last_of('/') == std::string::npos ? 0 : out.find_last_of('/'));
    } else if (segment != "/.") {
      out += segment;
      continue;
    }
    if (path.empty()) out += '/';
  }
  return out;
}

}  // namespace

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : fmt::format("[{}]", host);
  return port == (tls ? "443" : "80") ? name : fmt::format("{}:{}", name, port);
}

std::string Url::origin() const {
  return fmt::format("{}{}", tls ? kHttps : kHttp, authority());
}

std::string Url::text() const {
  return origin() + path;
}

std::string Url::shown() const {
  return printable(origin() + path.substr(0, path.find('?')), 400);
}

Url parse_url(std::string_view text) {
  Url out;
  const std::string scheme = lower(text.substr(0, kHttps.size()));
  if (!scheme.starts_with(kHttps) && !scheme.starts_with(kHttp)) {
    refuse_url(text, "it begins with neither https:// nor http://");
  }
  if (text.size() > kMaxUrl) refuse_url(text.substr(0, 200), "it is too long");
  if (std::ranges::any_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
    refuse_url(text, "there is a space or a control character in it");
  }
  out.tls = scheme.starts_with(kHttps);
  std::string_view rest = text.substr(out.tls ? kHttps.size() : kHttp.size());
  rest = rest.substr(0, rest.find('#'));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, end);
  out.path = rest.substr(end);
  if (!out.path.starts_with('/')) out.path.insert(0, 1, '/');
  if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
    refuse_url(text.substr(text.rfind('@')), "user names and passwords in URLs are not sent");
  }
  std::size_t colon = authority.rfind(':');
  if (authority.starts_with('[')) {
    const std::size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) refuse_url(text, "a bracket is not closed");
    out.host = lower(authority.substr(1, bracket - 1));
    colon = bracket + 1;
    if (colon < authority.size() && authority[colon] != ':') refuse_url(text, "no port follows the bracket");
  } else {
    out.host = lower(authority.substr(0, colon));
  }
  if (!is_host(out.host)) refuse_url(text, "it has no valid host name");
  out.port = colon < authority.size() ? std::string(authority.substr(colon + 1)) : out.tls ? "443" : "80";
  if (!is_port(out.port)) refuse_url(text, "the port must be a number from 1 to 65535");
  return out;
}

Url redirect_target(const Url& from, std::string_view location) {
  if (location.find("://") != std::string_view::npos && location.find("://") < location.find_first_of("/?#")) {
    Url out = parse_url(location);
    if (from.tls && !out.tls) {
      throw Error(fmt::format("{}: redirects from https to http ({}), which nothing protects. Ask who runs it.",
                              from.shown(), out.shown()));
    }
    return out;
  }
  if (location.starts_with("//")) return parse_url((from.tls ? "https:" : "http:") + std::string(location));
  const std::string base = from.path.substr(0, from.path.find('?'));
  std::string path(location.substr(0, location.find('#')));
  if (path.starts_with('?')) {
    path = base + path;
  } else if (!path.starts_with('/')) {
    path = base.substr(0, base.rfind('/') + 1) + path;
  }
  const std::size_t query = std::min(path.find('?'), path.size());
  return parse_url(from.origin() + without_dots(std::string_view(path).substr(0, query)) + path.substr(query));
}

}  // namespace outrider
