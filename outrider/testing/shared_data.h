#pragma once

#include <cstdlib>
#include <filesystem>

namespace outrider::testing {

// The folder of real configs and tensor lists: OUTRIDER_SHARED_DATA, or shared/data beside the repository. Tests that
// need it are skipped if it is absent.
inline std::filesystem::path shared_data() {
  if (const char* set = std::getenv("OUTRIDER_SHARED_DATA")) return set;
  return std::filesystem::path(OUTRIDER_SOURCE_DIR).parent_path() / "shared" / "data";
}

}  // namespace outrider::testing

#define OUTRIDER_NEEDS_SHARED_DATA()                                                                                 \
  if (!std::filesystem::exists(outrider::testing::shared_data())) {                                                  \
    GTEST_SKIP() << "needs the reference data at " << outrider::testing::shared_data() << " (OUTRIDER_SHARED_DATA)"; \
  }
