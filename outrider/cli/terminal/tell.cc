#include "outrider/cli/terminal/tell.h"

#include <cstdio>

namespace outrider {

void tell_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace outrider
