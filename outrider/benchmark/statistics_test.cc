#include "outrider/benchmark/statistics.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(Statistics, EqualNumpys) {
  const std::vector<double> values = {4, 1, 3, 2, 10};
  EXPECT_DOUBLE_EQ(mean(values), 4);
  EXPECT_NEAR(standard_deviation(values), 3.1622776601683795, 1e-12);
  EXPECT_DOUBLE_EQ(median(values), 3);
  EXPECT_DOUBLE_EQ(percentile(values, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(values, 100), 10);
  EXPECT_DOUBLE_EQ(percentile(values, 90), 7.6);
  EXPECT_DOUBLE_EQ(percentile({1, 2}, 99), 1.99);
  EXPECT_DOUBLE_EQ(percentile({5}, 99), 5);
  EXPECT_DOUBLE_EQ(mean({}), 0);
  EXPECT_DOUBLE_EQ(standard_deviation({}), 0);
  EXPECT_DOUBLE_EQ(percentile({}, 50), 0);
}

}  // namespace
}  // namespace outrider
