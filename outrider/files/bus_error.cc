#include "outrider/files/bus_error.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace outrider {
namespace {

// The following runs in a signal handler: it allocates no memory and calls only async-signal-safe functions.

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, text.data(), text.size());
}

// Reads the lines of /proc/self/maps; very long ones are truncated.
class MapLines {
 public:
  MapLines() : fd_(open("/proc/self/maps", O_RDONLY | O_CLOEXEC)) {}
  ~MapLines() { close(fd_); }
  MapLines(const MapLines&) = delete;
  MapLines& operator=(const MapLines&) = delete;

  bool next(std::string_view& line) {
    std::size_t length = 0;
    char c = 0;
    while (read_byte(c)) {
      if (c == '\n') {
        line = {line_.data(), length};
        return true;
      }
      if (length < line_.size()) line_[length++] = c;
    }
    return false;
  }

 private:
  bool read_byte(char& c) {
    if (at_ == filled_) {
      const ssize_t got = read(fd_, buffer_.data(), buffer_.size());
      if (got <= 0) return false;
      filled_ = static_cast<std::size_t>(got);
      at_ = 0;
    }
    c = buffer_[at_++];
    return true;
  }

  int fd_;
  std::array<char, 4096> buffer_;
  std::array<char, 4352> line_;  // a path, and what precedes it
  std::size_t at_ = 0;
  std::size_t filled_ = 0;
};

// Parses "7f12-7f34 r--s 00000000 fe:00 42   /path": advances `text` past a hexadecimal number and one character.
std::uintptr_t take_address(std::string_view& text) {
  std::uintptr_t out = 0;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c >= '0' && c <= '9') {
      out = out * 16 + static_cast<std::uintptr_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      out = out * 16 + static_cast<std::uintptr_t>(c - 'a' + 10);
    } else {
      break;
    }
  }
  return out;
}

void explain(int, siginfo_t* info, void*) {
  // One thread reports; the others wait for the process to end.
  static std::atomic<bool> reported = false;
  while (reported.exchange(true)) pause();
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  say("outrider: ");
  MapLines lines;
  bool found = false;
  for (std::string_view line; !found && lines.next(line);) {
    std::string_view rest = line;
    const std::uintptr_t begin = take_address(rest);
    const std::uintptr_t end = take_address(rest);
    const std::size_t path = rest.find('/');
    found = begin <= address && address < end && path != std::string_view::npos;
    if (found) say(rest.substr(path));
  }
  say(found ? "" : "a mapped file");
  say(": was truncated while it was read, or its disk is failing. Start again when nothing writes to it; check the "
      "disk.\n");
  _exit(2);
}

}  // namespace

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace outrider
