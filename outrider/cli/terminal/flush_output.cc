#include "outrider/cli/terminal/flush_output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "outrider/util/error.h"

namespace outrider {

void flush_output() {
  if (std::fflush(stdout) != 0) {
    throw Error(fmt::format("Standard output cannot be written ({}).", std::strerror(errno)));
  }
  if (std::ferror(stdout) != 0) throw Error("Standard output could not be written: part of the output is lost.");
}

}  // namespace outrider
