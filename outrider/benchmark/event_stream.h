#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace outrider {

// Parses server-sent events: lines of "data: …", ended by an empty one (WHATWG's standard, as far as OpenAI's API uses
// it: other fields and comments are skipped).
class EventStream {
 public:
  // Parses a piece of the stream, split anywhere, and calls `on_data` with the data of each complete event.
  void push(std::string_view piece, const std::function<void(std::string_view data)>& on_data);

 private:
  void line(std::string_view line, const std::function<void(std::string_view data)>& on_data);

  std::string partial_;  // line
  std::string data_;
  bool any_ = false;
};

}  // namespace outrider
