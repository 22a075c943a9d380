#pragma once

#include <string>
#include <string_view>

namespace outrider {

// Where a server is: http://host[:port][/path].
struct BaseUrl {
  std::string host;  // an IPv6 address without its brackets
  std::string port = "80";
  std::string path;  // empty, or begins with a slash and ends without one

  std::string text() const;       // as parse_base_url() takes it
  std::string authority() const;  // host:port, as the Host header has it
};

// Throws Error for what is no http:// URL. There is no TLS here, so https:// is refused.
BaseUrl parse_base_url(std::string_view url);

}  // namespace outrider
