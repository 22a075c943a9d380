#include "outrider/cli/terminal/interrupt.h"

#include <atomic>
#include <csignal>

namespace outrider {
namespace {

std::atomic<bool> interrupted = false;
struct sigaction before;

void remember(int /*signal*/) {
  interrupted = true;
}

}  // namespace

InterruptCatcher::InterruptCatcher() {
  interrupted = false;
  struct sigaction action {};
  action.sa_handler = remember;  // without SA_RESTART, so that reading a line is interrupted
  sigaction(SIGINT, &action, &before);
}

InterruptCatcher::~InterruptCatcher() {
  sigaction(SIGINT, &before, nullptr);
}

bool InterruptCatcher::take() {
  return interrupted.exchange(false);
}

}  // namespace outrider
