#pragma once

#include <string>
#include <string_view>

namespace outrider {

// An http:// or https:// URL.
struct Url {
  bool tls = true;
  std::string host;  // lower case; an IPv6 address without its brackets
  std::string port;  // never empty
  std::string path;  // begins with a slash; with the query, without the fragment

  std::string text() const;  // the scheme's own port is left out
  // Scheme, host and port, as text() writes them.
  std::string origin() const;
  // The Host header's value.
  std::string authority() const;
  // Without the query, which may hold a signature.
  std::string shown() const;
};

// Throws Error if it is no URL of these schemes, or holds a user name, a password, a space or a control character.
Url parse_url(std::string_view text);

// Where a redirect leads: `location` is absolute, or relative to `from` (RFC 3986, section 5). Throws Error as
// parse_url() does, and if it leads from https to http.
Url redirect_target(const Url& from, std::string_view location);

}  // namespace outrider
