#include "outrider/manifest/manifest.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(ParameterSpec, EverySlotHasOneLine) {
  for (std::size_t i = 0; i < kSlotCount; ++i)
    EXPECT_EQ(parameter_spec(static_cast<Slot>(i)).slot, static_cast<Slot>(i));
}

}  // namespace
}  // namespace outrider
