#include "outrider/server/static_files.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace outrider {
namespace {

constexpr std::array<StaticFile, 1> kFiles = {{
    {"/", "text/plain; charset=utf-8",
     "Outrider serves an OpenAI-compatible API under /v1; /health, /metrics and /v1/models tell of its state.\n"},
}};

}  // namespace

const StaticFile* find_static_file(std::string_view path) {
  const auto* found = std::ranges::find(kFiles, path, &StaticFile::path);
  return found == kFiles.end() ? nullptr : found;
}

}  // namespace outrider
