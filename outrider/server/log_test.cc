#include "outrider/server/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <string>

namespace outrider {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class Pipe {
 public:
  Pipe() {
    if (pipe(ends_.data()) != 0) throw std::runtime_error("pipe");
  }
  ~Pipe() {
    close_reader();
    close_writer();
  }
  int writer() const { return ends_[1]; }
  void close_reader() { close_end(0); }
  void close_writer() { close_end(1); }
  std::string read_all() {
    std::string all;
    std::array<char, 4096> piece{};
    for (ssize_t got = 0; (got = read(ends_[0], piece.data(), piece.size())) > 0;)
      all.append(piece.data(), static_cast<std::size_t>(got));
    return all;
  }

 private:
  void close_end(std::size_t end) {
    if (ends_[end] >= 0) close(ends_[end]);
    ends_[end] = -1;
  }

  std::array<int, 2> ends_{};
};

std::string logged(LogFormat format) {
  Pipe pipe;
  Log(format, pipe.writer()).warning("two\nlines", {{"key", "a \"b\""}, {"number", 7}});
  pipe.close_writer();
  return pipe.read_all();
}

TEST(Log, WritesOneLineInEitherFormat) {
  EXPECT_THAT(logged(LogFormat::kText),
              MatchesRegex("....-..-.. ..:..:..\\.... WARNING two.x0alines key=\"a .\"b.\"\" number=7\n"));
  const auto object = nlohmann::json::parse(logged(LogFormat::kJson));
  EXPECT_EQ(object["level"], "WARNING");
  EXPECT_EQ(object["message"], "two\nlines");
  EXPECT_EQ(object["number"], 7);
}

TEST(Log, NeverWaitsForAReader) {
  Pipe pipe;
  std::optional<Log> log(std::in_place, LogFormat::kText, pipe.writer());
  const std::string text(4000, 'x');
  for (int i = 0; i < 4000; ++i) log->info(text);  // 16 MB, of which the pipe takes 64 KiB
  std::string all;
  std::jthread reader([&] { all = pipe.read_all(); });
  // Room again once the reader has taken some.
  for (int i = 0; i < 1000; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    log->info("again");
  }
  log.reset();
  pipe.close_writer();
  reader.join();
  EXPECT_THAT(all, HasSubstr("were dropped: they were not read in time, or memory lacked. lines="));
  EXPECT_THAT(all, EndsWith("again\n"));
}

TEST(Log, OutlivesItsReader) {
  signal(SIGPIPE, SIG_IGN);  // as serve does
  Pipe pipe;
  Log log(LogFormat::kText, pipe.writer());
  pipe.close_reader();
  for (int i = 0; i < 100; ++i) log.info("nobody reads this");
}

}  // namespace
}  // namespace outrider
