#pragma once

#include <string>
#include <string_view>

namespace outrider {

// Percent-encodes a path for a URL: everything but RFC 3986's unreserved characters and slashes.
std::string encode_path(std::string_view path);

}  // namespace outrider
