#pragma once

#include <string>
#include <string_view>

namespace outrider {

// The address of a server: http://host[:port][/path].
struct BaseUrl {
  std::string host;  // an IPv6 address without its brackets
  std::string port = "80";
  std::string path;  // empty, or begins with a slash and ends without one

  std::string text() const;       // the inverse of parse_base_url()
  std::string authority() const;  // host:port, for the Host header
};

// Throws Error if it is not an http:// URL; https:// is not supported.
BaseUrl parse_base_url(std::string_view url);

}  // namespace outrider
