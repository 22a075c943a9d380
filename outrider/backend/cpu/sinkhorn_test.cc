#include "outrider/backend/cpu/sinkhorn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace outrider {
namespace {

TEST(Sinkhorn, RowsAndColumnsSumToOne) {
  std::vector<float> comb = {2, 0, -1, 0.5F, 0.1F, 3, 0, 0, -2, 0.3F, 1, 1, 0, 0, 0, 2};
  sinkhorn(comb, 4, 20, 1e-6F);
  for (std::size_t i = 0; i < 4; ++i) {
    float row = 0;
    float column = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      EXPECT_GT(comb[i * 4 + k], 0.0F);
      row += comb[i * 4 + k];
      column += comb[k * 4 + i];
    }
    EXPECT_NEAR(row, 1.0F, 1e-3F);
    EXPECT_NEAR(column, 1.0F, 1e-5F);  // divided last
  }
}

// By hand: softmax of the rows [0, ln 3] and [0, 0] is [1/4, 3/4] and [1/2, 1/2]; the columns' sums are 3/4 and 5/4.
TEST(Sinkhorn, OneIterationDividesColumnsOnly) {
  std::vector<float> comb = {0, std::log(3.0F), 0, 0};
  sinkhorn(comb, 2, 1, 0.0F);
  EXPECT_NEAR(comb[0], 1.0F / 3, 1e-6F);
  EXPECT_NEAR(comb[1], 3.0F / 5, 1e-6F);
  EXPECT_NEAR(comb[2], 2.0F / 3, 1e-6F);
  EXPECT_NEAR(comb[3], 2.0F / 5, 1e-6F);
}

TEST(Sinkhorn, LargeValuesDoNotOverflow) {
  std::vector<float> comb = {1000, 0, 0, 1000};
  sinkhorn(comb, 2, 20, 1e-6F);
  EXPECT_NEAR(comb[0], 1.0F, 1e-4F);
  EXPECT_NEAR(comb[1], 0.0F, 1e-4F);
}

}  // namespace
}  // namespace outrider
