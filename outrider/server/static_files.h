#pragma once

#include <string_view>

namespace outrider {

struct StaticFile {
  std::string_view path;  // "/", "/page.js"
  std::string_view content_type;
  std::string_view body;
};

// Finds a file that the server sends unchanged; null if there is none at the path.
const StaticFile* find_static_file(std::string_view path);

}  // namespace outrider
