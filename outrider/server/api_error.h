#pragma once

#include <string>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {

// An error that is sent to the client as OpenAI's error object with an HTTP status.
class ApiError : public Error {
 public:
  ApiError(unsigned status, const std::string& message, std::string param = {}, std::string code = {})
      : Error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

  unsigned status() const { return status_; }
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }

 private:
  unsigned status_;
  std::string param_;
  std::string code_;
};

// The message of a 503.
inline constexpr const char* kOutOfMemory = "There is not enough memory for this request now. Try again later.";

// {"error": {"message", "type", "param", "code"}}; the type follows from the status.
std::string error_json(unsigned status, const std::string& message, const std::string& param = {},
                       const std::string& code = {});

}  // namespace outrider
