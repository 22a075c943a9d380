// The program outrider_fuzz: `outrider_fuzz NAME [options of libFuzzer]` runs a fuzzer, `outrider_fuzz` lists all.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "outrider/testing/fuzz_target.h"
#include "outrider/util/error.h"

namespace outrider::testing {
namespace {

std::map<std::string, FuzzTarget::Body>& targets() {
  static std::map<std::string, FuzzTarget::Body> all;
  return all;
}

FuzzTarget::Body chosen = nullptr;

// For the processes that libFuzzer starts itself (-fork, -minimize_crash), without the name.
constexpr const char* kVariable = "OUTRIDER_FUZZ_TARGET";

}  // namespace

FuzzTarget::FuzzTarget(std::string_view name, Body body) {
  targets().emplace(name, body);
}

}  // namespace outrider::testing

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  using namespace outrider::testing;
  const char* name = std::getenv(kVariable);
  if (*argc > 1 && targets().contains((*argv)[1])) {
    name = (*argv)[1];
    setenv(kVariable, name, 1);
    (*argv)[1] = (*argv)[0];
    ++*argv;
    --*argc;
  }
  if (name == nullptr || !targets().contains(name)) {
    for (const auto& [each, body] : targets()) std::puts(each.c_str());
    std::exit(*argc > 1 ? 2 : 0);
  }
  chosen = targets().at(name);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    outrider::testing::chosen({reinterpret_cast<const char*>(data), size});
  } catch (const outrider::Error&) {  // NOLINT(bugprone-empty-catch): how input is refused
  }
  return 0;
}
