#pragma once

#include <string_view>

namespace outrider {

struct StaticFile {
  std::string_view path;  // "/", "/page.js"
  std::string_view content_type;
  std::string_view body;
};

// A file that the server gives out as it is; null where there is none of that path.
const StaticFile* find_static_file(std::string_view path);

}  // namespace outrider
