#include "outrider/hub/proxy.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

std::optional<std::string> either_case(const Environment& environment, std::string name) {
  if (auto value = environment(name)) return value;
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return environment(name);
}

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const bool escape = text[i] == '%' && i + 2 < text.size() &&
                        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3;
    out += escape ? static_cast<char>(byte) : text[i];
    if (escape) i += 2;
  }
  return out;
}

// The bits of an IPv4 address; nothing where it is none.
std::optional<std::uint32_t> ipv4(const std::string& text) {
  in_addr address{};
  if (inet_pton(AF_INET, text.c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

bool in_network(std::string_view network, const std::string& host) {
  const std::size_t slash = network.find('/');
  if (slash == std::string_view::npos) return false;
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(network.data() + slash + 1, network.data() + network.size(), bits);
  const auto base = ipv4(std::string(network.substr(0, slash)));
  const auto address = ipv4(host);
  if (error != std::errc{} || end != network.data() + network.size() || bits > 32 || !base || !address) return false;
  return bits == 0 || (*base ^ *address) >> (32 - bits) == 0;
}

}  // namespace

std::optional<std::string> process_environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      three = three << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += j > bytes.size() - i ? '=' : kDigits[three >> (18 - 6 * j) & 63];
    }
  }
  return out;
}

bool is_excluded(std::string_view no_proxy, const Url& url) {
  while (!no_proxy.empty()) {
    const std::size_t end = std::min(no_proxy.find_first_of(", "), no_proxy.size());
    std::string entry(no_proxy.substr(0, end));
    no_proxy.remove_prefix(std::min(end + 1, no_proxy.size()));
    for (char& c : entry) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (entry == "*") return true;
    if (in_network(entry, url.host)) return true;
    if (std::ranges::count(entry, ':') == 1 || entry.starts_with('[')) {
      const std::size_t colon = entry.rfind(':');
      if (colon != std::string::npos && entry.find(']', colon) == std::string::npos) {
        if (entry.substr(colon + 1) != url.port) continue;
        entry.resize(colon);
      }
      if (entry.starts_with('[') && entry.ends_with(']')) entry = entry.substr(1, entry.size() - 2);
    }
    if (entry.starts_with("*.")) entry.erase(0, 1);
    while (entry.starts_with('.')) entry.erase(0, 1);
    if (!entry.empty() && (url.host == entry || url.host.ends_with("." + entry))) return true;
  }
  return false;
}

std::optional<Proxy> proxy_for(const Url& url, const Environment& environment) {
  auto value = either_case(environment, url.tls ? "https_proxy" : "http_proxy");
  std::string name = url.tls ? "HTTPS_PROXY" : "HTTP_PROXY";
  if (!value) {
    value = either_case(environment, "all_proxy");
    name = "ALL_PROXY";
  }
  if (!value) return std::nullopt;
  if (const auto excluded = either_case(environment, "no_proxy"); excluded && is_excluded(*excluded, url)) {
    return std::nullopt;
  }
  std::string text = *value;
  if (text.find("://") == std::string::npos) text.insert(0, "http://");
  Proxy out;
  const std::size_t begin = text.find("://") + 3;
  const std::size_t end = std::min(text.find('/', begin), text.size());
  if (const std::size_t at = text.rfind('@', end); at != std::string::npos && at >= begin) {
    out.authorization = "Basic " + base64(decoded(std::string_view(text).substr(begin, at - begin)));
    text.erase(begin, at + 1 - begin);
  }
  if (!text.starts_with("http://")) {
    throw Error(
        fmt::format("{} is {}: only http:// proxies are supported. Set it to http://HOST:PORT, or set NO_PROXY "
                    "to {}.",
                    name, printable(text), url.host));
  }
  out.url = parse_url(text);
  return out;
}

}  // namespace outrider
