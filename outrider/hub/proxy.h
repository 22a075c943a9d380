#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "outrider/hub/url.h"

namespace outrider {

// The value of an environment variable; nothing where it is not set or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> process_environment(const std::string& name);

// An HTTP proxy. https:// is reached through it by CONNECT, so it sees neither content nor token.
struct Proxy {
  Url url;
  std::string authorization;  // of Proxy-Authorization; empty without a user
};

// The proxy by which a URL is reached: https_proxy, http_proxy, all_proxy, unless no_proxy names the host; in lower and
// upper case, the former first, as curl and requests read them. Throws Error where it is no http:// proxy.
std::optional<Proxy> proxy_for(const Url& url, const Environment& environment);

// Whether no_proxy ("localhost, .example.org, 10.0.0.0/8, *", each with an optional port) names a host.
bool is_excluded(std::string_view no_proxy, const Url& url);

// RFC 4648.
std::string base64(std::string_view bytes);

}  // namespace outrider
