#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::kBinary;
using testing::ProcessResult;
using testing::run;

TEST(MakeModel, WritesACompleteModelThatRuns) {
  const testing::TempDir dir;
  for (const std::string form : {"official", "w4a16", "huggingface"}) {
    const std::string out = (dir / form).string();
    const ProcessResult made =
        run(fmt::format("{} make-model '{}' --like tiny --layers 4 --form {}", kBinary, out, form));
    EXPECT_EQ(made.exit_status, 0) << made.output;
    EXPECT_THAT(made.output, HasSubstr("tensors in 1 file, "));
    const ProcessResult checked = run(fmt::format("{} check --data '{}'", kBinary, out));
    EXPECT_EQ(checked.exit_status, 0) << checked.output;
  }
  const ProcessResult timed = run(kBinary + " bench latency '" + (dir / "official").string() +
                                  "' --input-len 4 --output-len 3 --num-iters 1 --disable-tqdm --breakdown");
  EXPECT_EQ(timed.exit_status, 0) << timed.output;
  EXPECT_THAT(timed.output, HasSubstr("a decode step takes"));
}

TEST(MakeModel, WritesAReleasesShapesWithoutTakingTheirSpace) {
  const testing::TempDir dir;
  const ProcessResult made =
      run(kBinary + " make-model '" + (dir / "pro").string() + "' --like pro --layers 3 --shards 2 --sparse");
  EXPECT_EQ(made.exit_status, 0) << made.output;
  const ProcessResult checked = run(kBinary + " check '" + (dir / "pro").string() + "'");
  EXPECT_EQ(checked.exit_status, 0) << checked.output;
}

TEST(MakeModel, RefusesADirectoryThatExistsAndADiskThatIsTooSmall) {
  const testing::TempDir dir;
  testing::write_file(dir / "something", "");
  const ProcessResult exists = run(kBinary + " make-model '" + dir.path().string() + "' --like tiny");
  EXPECT_EQ(exists.exit_status, 2);
  EXPECT_THAT(exists.output, HasSubstr("already exists"));
  const ProcessResult large =
      run(kBinary + " make-model '" + (dir / "x").string() + "' --like pro --form bf16 --experts 1000");
  EXPECT_EQ(large.exit_status, 2);
  EXPECT_THAT(large.output, HasSubstr("are free. Reduce --layers"));
}

}  // namespace
}  // namespace outrider
