#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

TEST(Parameters, TheirDocumentationHasTheTable) {
  EXPECT_THAT(testing::read_file(std::string(OUTRIDER_SOURCE_DIR) + "/docs/parameters.md"),
              ::testing::HasSubstr(testing::run(testing::kBinary + " parameters").output));
}

}  // namespace
}  // namespace outrider
