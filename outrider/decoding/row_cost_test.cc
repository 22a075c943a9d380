#include "outrider/decoding/row_cost.h"

#include <gtest/gtest.h>

#include <random>

namespace outrider {
namespace {

TEST(RowCost, IsTheSlopeTimesTheTokensPerSecond) {
  RowCost cost;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform;
  EXPECT_EQ(cost.tokens_per_row(), 0);
  for (int i = 0; i < 1000; ++i) {
    const std::size_t rows = 1 + random() % 6;
    const double pass = (1 + 0.2 * static_cast<double>(rows)) * (1 + 0.1 * uniform(random));
    cost.add(rows, pass, 3, pass + 0.5);
  }
  EXPECT_NEAR(cost.tokens_per_row(), 0.2 * 3 / (1.7 + 0.5), 0.05);
}

TEST(RowCost, IsUnknownUntilPassesDifferAndKeptWhenTheyDoNoLonger) {
  RowCost cost;
  for (int i = 0; i < 100; ++i) cost.add(4, 1, 4, 1);
  EXPECT_EQ(cost.tokens_per_row(), 0);
  for (int i = 0; i < 50; ++i) cost.add(8, 1.4, 4, 1);
  EXPECT_NEAR(cost.tokens_per_row(), 0.4, 0.01);
  for (int i = 0; i < 5000; ++i) cost.add(8, 1.4, 4, 1);
  EXPECT_NEAR(cost.tokens_per_row(), 0.4, 0.01);
}

TEST(RowCost, IsNeitherNegativeNorMoreThanTheMean) {
  RowCost faster;
  for (int i = 0; i < 100; ++i) faster.add(i % 2 == 0 ? 2 : 4, i % 2 == 0 ? 2 : 1, 1, 1);
  EXPECT_EQ(faster.tokens_per_row(), 0);
  RowCost slower;
  for (int i = 0; i < 1000; ++i) slower.add(i % 2 == 0 ? 2 : 4, i % 2 == 0 ? 1 : 9, 1, 1);
  EXPECT_NEAR(slower.tokens_per_row(), 5.0 / 3, 0.05);
}

}  // namespace
}  // namespace outrider
