#pragma once

namespace outrider {

// While one stands, Ctrl-C (SIGINT) does not end the program but is remembered.
class InterruptCatcher {
 public:
  InterruptCatcher();
  ~InterruptCatcher();
  InterruptCatcher(const InterruptCatcher&) = delete;
  InterruptCatcher& operator=(const InterruptCatcher&) = delete;

  // Whether Ctrl-C was pressed since the last call.
  bool take();
};

}  // namespace outrider
