#include <algorithm>
#include <string>
#include <string_view>

#include "outrider/benchmark/event_stream.h"
#include "outrider/testing/fuzz_target.h"

namespace {

std::string events_of(std::string_view stream, std::string_view lengths) {
  outrider::EventStream events;
  std::string out;
  for (std::size_t i = 0; !stream.empty(); ++i) {
    const std::size_t length =
        lengths.empty() ? stream.size() : 1 + static_cast<unsigned char>(lengths[i % lengths.size()]) % 16;
    events.push(stream.substr(0, length), [&](std::string_view data) { out.append(data).append(1, '\0'); });
    stream.remove_prefix(std::min(length, stream.size()));
  }
  return out;
}

}  // namespace

// Any stream has the same events however it arrives.
FUZZ_TARGET(event_stream) {
  const auto [stream, lengths] = outrider::testing::split_at_zero(input);
  const std::string whole = events_of(stream, {});
  outrider::testing::require(events_of(stream, lengths) == whole && events_of(stream, {"\0", 1}) == whole);
}
