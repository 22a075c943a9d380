#pragma once

#include <string>
#include <string_view>

namespace outrider {

// The path of an HTTP request's target (RFC 9112, 3.2), which may be an absolute URL: without the query, %XX decoded.
// What is not well formed is kept as it is.
std::string path_of_target(std::string_view target);

}  // namespace outrider
