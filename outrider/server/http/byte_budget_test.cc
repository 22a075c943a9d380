#include "outrider/server/http/byte_budget.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(ByteBudget, SharesEndWhereTheBudgetEnds) {
  const auto budget = std::make_shared<ByteBudget>(4 * kMiB);
  ByteBudget::Share one(budget);
  EXPECT_TRUE(one.grow(3 * kMiB));
  {
    ByteBudget::Share two(budget);
    EXPECT_FALSE(two.grow(2 * kMiB));
    EXPECT_TRUE(two.grow(kMiB));
    EXPECT_FALSE(one.grow(1));
  }
  EXPECT_TRUE(one.grow(kMiB));
}

TEST(ByteBudget, LargeSharesLeaveTheReserve) {
  const auto budget = std::make_shared<ByteBudget>(4 * kMiB, kMiB);
  ByteBudget::Share large(budget);
  EXPECT_FALSE(large.grow(3 * kMiB + 1));
  EXPECT_TRUE(large.grow(3 * kMiB));
  ByteBudget::Share other(budget);
  EXPECT_TRUE(other.grow(ByteBudget::kSmall));
  EXPECT_FALSE(other.grow(1));  // it is large now
}

}  // namespace
}  // namespace outrider
