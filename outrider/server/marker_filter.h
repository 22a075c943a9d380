#pragma once

#include <span>
#include <string>
#include <string_view>

namespace outrider {

// Removes prompt markup from a stream of text, also where it is spelled letter by letter. A message that is sent back
// in the next prompt would otherwise end there.
class MarkerFilter {
 public:
  // `markers` must outlive it.
  explicit MarkerFilter(std::span<const std::string_view> markers) : markers_(markers) {}

  // Returns the text that is certain; the beginning of a marker is held back.
  std::string push(std::string_view text);
  // Ends the stream and returns the text that was held back, without a marker that was begun.
  std::string finish();

 private:
  std::size_t held_bytes() const;

  std::span<const std::string_view> markers_;
  std::string held_;
};

}  // namespace outrider
