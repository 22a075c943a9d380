#include "outrider/check/parameter_values.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/check/check.h"
#include "outrider/check/value_difference.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using synthetic::Family;

class ParameterValuesOf : public ::testing::TestWithParam<Family> {};

// tests/variants verifies what codes and scales mean: the same model in every form, written by another program.
TEST_P(ParameterValuesOf, ReadsAnyRangeConsistently) {
  testing::TempDir dir;
  synthetic::write_tiny_checkpoint(dir.path(), {.family = GetParam()});
  const CheckReport report = check_path(dir.path());
  ASSERT_NE(report.binding, nullptr);
  const BindingReport& binding = *report.binding;
  const TensorData data(*report.checkpoint);
  for (const auto& [slot, expert] : {std::pair(Slot::kExpertW3, 2), {Slot::kWqB, -1}, {Slot::kAttnNorm, -1}}) {
    const auto p = binding.manifest->find({BlockKind::kLayer, 2}, slot, expert);
    ASSERT_TRUE(p);
    const auto values = ParameterValues::of(binding, data, *p);
    ASSERT_TRUE(values);
    EXPECT_EQ(values->elements(), (*binding.manifest)[*p].shape.elements());
    std::vector<float> whole(values->elements());
    values->read(0, whole.size(), whole.data());
    EXPECT_TRUE(std::ranges::any_of(whole, [](float v) { return v != 0; }));
    for (std::uint64_t begin = 0; begin < whole.size(); begin += 1237) {
      std::vector<float> part(std::min<std::uint64_t>(333, whole.size() - begin));
      values->read(begin, part.size(), part.data());
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
    EXPECT_EQ(compare_values(*values, *values).different, 0U);
  }
  const auto table = binding.manifest->find({BlockKind::kLayer, 0}, Slot::kGateTid2Eid);
  EXPECT_FALSE(ParameterValues::of(binding, data, *table));
}

INSTANTIATE_TEST_SUITE_P(Forms, ParameterValuesOf,
                         ::testing::Values(Family::kOfficial, Family::kBf16, Family::kHuggingFace, Family::kW4A16,
                                           Family::kNvfp4, Family::kModelopt, Family::kFp8));

TEST(ValueDifference, ReportsItsSize) {
  ValueDifference d;
  d.elements = 32768;
  d.different = 4096;
  d.squares = 0.0004;
  d.reference_squares = 1;
  d.own_squares = 1;
  d.product = 1;
  d.largest = 0.0131;
  EXPECT_EQ(d.text(), "in 4,096 of 32,768 values (relative error 2.0%, largest difference 0.013)");
  d.reference_squares = 0;
  d.not_finite = 3;
  EXPECT_EQ(d.text(),
            "in 4,096 of 32,768 values (the others are all zero, largest difference 0.013, 3 NaN or infinite on one "
            "side)");
  EXPECT_EQ(percent_text(1.414), "141%");
  EXPECT_EQ(percent_text(0.000031), "0.0031%");
}

}  // namespace
}  // namespace outrider
