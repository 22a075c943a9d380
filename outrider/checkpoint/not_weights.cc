#include "outrider/checkpoint/not_weights.h"

#include <algorithm>
#include <cctype>

namespace outrider {

std::optional<Impostor> recognise_impostor(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs.github.com/spec/")) return Impostor::kLfsPointer;
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  while (!bytes.empty() && std::isspace(static_cast<unsigned char>(bytes.front())) != 0) bytes.remove_prefix(1);
  for (const std::string_view tag : {"<!doctype html", "<html"}) {
    if (bytes.size() >= tag.size() && std::equal(tag.begin(), tag.end(), bytes.begin(), [](char a, char b) {
          return a == std::tolower(static_cast<unsigned char>(b));
        })) {
      return Impostor::kHtml;
    }
  }
  return std::nullopt;
}

std::string_view impostor_advice(Impostor impostor) {
  return impostor == Impostor::kLfsPointer
             ? "is a Git LFS pointer, not the file itself. Run `git lfs pull` in the repository."
             : "is a web page, probably a login form or an error, not the file itself. Download it again with a token "
               "that may read the repository.";
}

}  // namespace outrider
