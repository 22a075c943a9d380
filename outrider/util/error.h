#pragma once

#include <stdexcept>

namespace outrider {

// Invalid input. The message is for people: what is wrong, where (file, tensor, shape), why, and what to do. The
// command line prints it after "outrider: " and exits with status 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The same command may succeed later: a port is in use, or there is not enough memory now. The command line exits with
// status 75 (EX_TEMPFAIL of sysexits.h), after which systemd restarts a service.
class TemporaryError : public Error {
 public:
  using Error::Error;
};

}  // namespace outrider
