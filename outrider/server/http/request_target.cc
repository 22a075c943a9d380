#include "outrider/server/http/request_target.h"

#include <charconv>
#include <cstddef>

namespace outrider {

std::string path_of_target(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (const std::size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
    const std::size_t path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  std::string decoded;
  for (std::size_t i = 0; i < target.size(); ++i) {
    unsigned byte = 0;
    const char* digits = target.data() + i + 1;
    if (target[i] == '%' && i + 2 < target.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += target[i];
    }
  }
  return decoded;
}

}  // namespace outrider
