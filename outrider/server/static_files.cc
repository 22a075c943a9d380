#include "outrider/server/static_files.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace outrider {

// page/index.html, which the build embeds.
std::string_view chat_page();

namespace {

const std::array<StaticFile, 1>& files() {
  static const std::array<StaticFile, 1> all = {{{"/", "text/html; charset=utf-8", chat_page()}}};
  return all;
}

}  // namespace

const StaticFile* find_static_file(std::string_view path) {
  const auto found = std::ranges::find(files(), path, &StaticFile::path);
  return found == files().end() ? nullptr : &*found;
}

}  // namespace outrider
