#pragma once

#include <string>

#include "outrider/util/error.h"

namespace outrider::testing {

// The message of the Error that `act` throws; "no error" if it throws none.
template <typename Act>
std::string error_message(const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace outrider::testing
