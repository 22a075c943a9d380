#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::kBinary;
using testing::kModel;
using testing::run;

// A Python that has the module says how it was called.
std::string fake_python(const std::filesystem::path& directory, const char* script) {
  const std::filesystem::path path = directory / "python";
  std::ofstream(path) << "#!/bin/sh\n" << script;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return "OUTRIDER_PYTHON='" + path.string() + "' ";
}

TEST(PreflightCommand, RunsTheModuleWithItsArguments) {
  const testing::TempDir directory;
  const std::string python = fake_python(directory.path(), "[ \"$1\" = -c ] && exit 0\necho \"$@\"\nexit 1\n");
  const auto result = run(python + kBinary + " preflight /x --pipeline-parallel-size 2 --json --no-drafter");
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_EQ(
      result.output,
      "-m outrider.audit.preflight --engine=vllm --pipeline-parallel-size=2 --tensor-parallel-size=1 --no-drafter "
      "--json -- /x\n");
}

TEST(PreflightCommand, SaysWhatToInstall) {
  const auto result = run("OUTRIDER_PYTHON=/bin/false " + kBinary + " preflight " + kModel);
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.output, HasSubstr("OUTRIDER_PYTHON is /bin/false, which does not run or has no outrider.audit"));
  EXPECT_THAT(result.output, HasSubstr("pip install 'outrider[vllm]'"));
}

TEST(PreflightCommand, WithoutAPythonItSaysWhatToInstall) {
  const auto result = run("env -u OUTRIDER_PYTHON PATH=/nowhere " + kBinary + " preflight " + kModel);
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.output, HasSubstr("Install it: `pip install 'outrider[vllm]'`"));
}

TEST(PreflightCommand, RefusesOtherEngines) {
  const auto result = run(kBinary + " preflight " + kModel + " --engine sglang");
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.output, HasSubstr("sglang"));
}

}  // namespace
}  // namespace outrider
