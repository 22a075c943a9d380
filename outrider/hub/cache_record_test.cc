#include "outrider/hub/cache_record.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(CacheRecord, IsReadAsItWasWritten) {
  const CachedFiles files = {{"config.json", {"etag", 7, "hash"}}, {"a/b.safetensors", {"", 1ULL << 40, ""}}};
  EXPECT_EQ(parse_cache_record(cache_record(files)), files);
  EXPECT_EQ(parse_cache_record(cache_record({})), CachedFiles{});
}

TEST(CacheRecord, ADamagedOneIsEmpty) {
  for (const char* record : {"", "{", "[]", "{}", R"({"files": 1})", R"({"files": {"a": {"etag": "e", "size": -1}}})",
                             R"({"files": {"a": {"etag": "e", "size": 1, "hash": 2}}})"}) {
    EXPECT_TRUE(parse_cache_record(record).empty()) << record;
  }
}

TEST(CacheRecord, NamesStayBelowTheSnapshot) {
  const CachedFiles files = {{"../../etc/passwd", {"", 1, ""}}, {"/etc/passwd", {"", 1, ""}}, {"a", {"", 1, ""}}};
  EXPECT_EQ(parse_cache_record(cache_record(files)).size(), 1U);
}

}  // namespace
}  // namespace outrider
