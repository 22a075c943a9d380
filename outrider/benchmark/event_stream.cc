#include "outrider/benchmark/event_stream.h"

#include <utility>

namespace outrider {

void EventStream::push(std::string_view piece, const std::function<void(std::string_view data)>& on_data) {
  for (;;) {
    const std::size_t end = piece.find('\n');
    if (end == std::string_view::npos) break;
    if (partial_.empty()) {
      line(piece.substr(0, end), on_data);
    } else {
      partial_ += piece.substr(0, end);
      line(std::exchange(partial_, {}), on_data);
    }
    piece.remove_prefix(end + 1);
  }
  partial_ += piece;
}

void EventStream::line(std::string_view line, const std::function<void(std::string_view data)>& on_data) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    if (any_) on_data(data_);
    data_.clear();
    any_ = false;
    return;
  }
  constexpr std::string_view kField = "data:";
  if (!line.starts_with(kField)) return;
  line.remove_prefix(kField.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (any_) data_ += '\n';
  data_ += line;
  any_ = true;
}

}  // namespace outrider
