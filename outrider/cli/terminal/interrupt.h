#pragma once

namespace outrider {

// While one exists, Ctrl-C (SIGINT) does not end the program but is recorded.
class InterruptCatcher {
 public:
  InterruptCatcher();
  ~InterruptCatcher();
  InterruptCatcher(const InterruptCatcher&) = delete;
  InterruptCatcher& operator=(const InterruptCatcher&) = delete;

  // Returns whether Ctrl-C was pressed since the last call.
  bool take();
};

}  // namespace outrider
