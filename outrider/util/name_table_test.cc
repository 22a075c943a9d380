#include "outrider/util/name_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace outrider {
namespace {

TEST(NameTable, FindsWhatWasAddedFirst) {
  std::vector<std::string> names = {"", std::string(1, '\0'), std::string(2, '\0'), "12345678", "123456789"};
  for (int i = 0; i < 5'000; ++i) names.push_back("layers." + std::to_string(i) + ".weight");
  const auto name_of = [&](std::uint32_t i) { return std::string_view(names[i]); };
  NameTable table(names.size());
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    EXPECT_FALSE(table.find(names[i], name_of));
    EXPECT_FALSE(table.insert(names[i], i, name_of));
  }
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(table.find(names[i], name_of), i);
    EXPECT_EQ(table.insert(names[i], 7'777'777, name_of), i);
  }
  EXPECT_FALSE(table.find("layers.5000.weight", name_of));
  EXPECT_FALSE(NameTable().find("", name_of));
}

}  // namespace
}  // namespace outrider
