#include "outrider/files/bus_error.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "outrider/files/file_reader.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

TEST(BusErrorDeathTest, NamesTheTruncatedFile) {
  testing::TempDir dir;
  testing::write_file(dir / "shard", std::string(1 << 16, 'x'));
  const auto read_past_the_end = [&] {
    explain_bus_errors();
    const FileReader file(dir / "shard");
    const void* mapped = mmap(nullptr, file.size(), PROT_READ, MAP_SHARED, file.descriptor(), 0);
    std::filesystem::resize_file(dir / "shard", 0);
    return *static_cast<const volatile std::byte*>(mapped);
  };
  EXPECT_EXIT(read_past_the_end(), ::testing::ExitedWithCode(2), "/shard: was truncated while it was read");
}

}  // namespace
}  // namespace outrider
