#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace outrider::testing {

struct ProcessResult {
  int exit_status = -1;  // 128 + signal if it was killed
  std::string output;    // standard output and error
};

// Runs a shell command line.
inline ProcessResult run(const std::string& command) {
  ProcessResult result;
  FILE* pipe = popen(("(" + command + ") 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer{};
  while (const std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) result.output.append(buffer.data(), got);
  const int status = pclose(pipe);
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace outrider::testing
