#include "outrider/benchmark/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace outrider {
namespace {

std::vector<std::string> events(std::string_view text, std::size_t piece) {
  EventStream stream;
  std::vector<std::string> out;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    stream.push(text.substr(i, piece), [&out](std::string_view data) { out.emplace_back(data); });
  }
  return out;
}

TEST(EventStream, EventsDoNotDependOnHowTheStreamIsSplit) {
  const std::string text =
      ": ping\n\nid: 1\ndata: {\"a\": 1}\n\ndata:[1,\ndata: 2]\r\n\r\nevent: x\n\ndata: [DONE]\n\ndata: not complete\n";
  for (const std::size_t piece : {1U, 2U, 7U, 1000U}) {
    EXPECT_THAT(events(text, piece), ::testing::ElementsAre("{\"a\": 1}", "[1,\n2]", "[DONE]")) << piece;
  }
}

}  // namespace
}  // namespace outrider
