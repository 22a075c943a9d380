#include "outrider/files/staged_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <functional>

#include "outrider/files/file_copy.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using Place = StagedDirectory::Place;
using testing::error_message;
using ::testing::HasSubstr;
using testing::read_file;
using testing::TempDir;
using testing::write_file;

TEST(StagedDirectory, ReplacesADirectoryAtomically) {
  TempDir dir;
  fs::create_directory(dir / "place");
  write_file(dir / "place" / "old", "old");
  {
    StagedDirectory staged(dir / "place", Place::kReplace);
    write_file(staged.path() / "new", "new");
    EXPECT_TRUE(fs::exists(dir / "place" / "old"));
    EXPECT_FALSE(fs::exists(dir / "place" / "new"));
    staged.commit();
  }
  EXPECT_FALSE(fs::exists(dir / "place" / "old"));
  EXPECT_EQ(read_file(dir / "place" / "new"), "new");
  EXPECT_FALSE(fs::exists(dir / ".place.outrider"));
}

TEST(StagedDirectory, LeavesNothingBehindIfItIsNotCommitted) {
  TempDir dir;
  {
    StagedDirectory staged(dir / "place", Place::kNew);
    write_file(staged.path() / "new", "new");
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(StagedDirectory, IsRemovedIfItHasOnlyAPlan) {
  TempDir dir;
  { const StagedDirectory staged(dir / "place", Place::kNew, "plan"); }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(StagedDirectory, RemovesTheLeftoverOfAnInterruptedRun) {
  TempDir dir;
  fs::create_directories(dir / ".place.outrider" / "folder");
  write_file(dir / ".place.outrider" / "half", "half");
  StagedDirectory staged(dir / "place", Place::kNew);
  EXPECT_TRUE(fs::is_empty(staged.path()));
  EXPECT_FALSE(staged.resumed());
}

TEST(StagedDirectory, ResumesOnlyALeftoverWithTheSamePlan) {
  TempDir dir;
  {
    StagedDirectory first(dir / "place", Place::kNew, "plan A");
    EXPECT_FALSE(first.resumed());
    write_file(first.path() / "done", "done");
  }
  {
    StagedDirectory again(dir / "place", Place::kNew, "plan A");
    EXPECT_TRUE(again.resumed());
    EXPECT_EQ(read_file(again.path() / "done"), "done");
  }
  StagedDirectory other(dir / "place", Place::kNew, "plan B");
  EXPECT_FALSE(other.resumed());
  EXPECT_FALSE(fs::exists(other.path() / "done"));
  other.commit();
  EXPECT_TRUE(fs::is_empty(dir / "place"));
}

TEST(StagedDirectory, AllowsOneProcessAtATime) {
  TempDir dir;
  StagedDirectory first(dir / "place", Place::kNew);
  write_file(first.path() / "new", "new");
  EXPECT_THAT(error_message([&] { StagedDirectory(dir / "place", Place::kNew); }),
              HasSubstr("another outrider process"));
  EXPECT_EQ(read_file(first.path() / "new"), "new");
}

TEST(StagedDirectory, RejectsAnExistingTarget) {
  TempDir dir;
  write_file(dir / "file", "x");
  fs::create_directory(dir / "full");
  write_file(dir / "full" / "x", "x");
  fs::create_directory(dir / "empty");
  EXPECT_THAT(error_message([&] { StagedDirectory(dir / "file", Place::kNew); }), HasSubstr("already exists"));
  EXPECT_THAT(error_message([&] { StagedDirectory(dir / "full", Place::kNew); }), HasSubstr("already exists"));
  EXPECT_THAT(error_message([&] { StagedDirectory(dir / "file", Place::kReplace); }), HasSubstr("is not a directory"));
  StagedDirectory staged(dir / "empty/", Place::kNew);
  staged.commit();
  EXPECT_TRUE(fs::is_directory(dir / "empty"));
}

TEST(StagedDirectory, DoesNotFollowALinkWithItsTemporaryName) {
  TempDir dir;
  fs::create_directory(dir / "precious");
  write_file(dir / "precious" / "x", "x");
  fs::create_directory_symlink("precious", dir / ".place.outrider");
  EXPECT_THAT(error_message([&] { StagedDirectory(dir / "place", Place::kNew); }), HasSubstr(".place.outrider"));
  EXPECT_EQ(read_file(dir / "precious" / "x"), "x");
}

TEST(StagedDirectory, DoesNotTakeTheOldDirectoryFromAProcessThatRemovesIt) {
  // Between the exchange and its removal, the old directory has the name that another process looks for.
  TempDir dir;
  fs::create_directory(dir / "place");
  write_file(dir / "place" / "old", "old");
  StagedDirectory staged(dir / "place", Place::kReplace);
  const int held = open((dir / "place").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(held, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(error_message([&] { staged.commit(); }), HasSubstr("another outrider process"));
  EXPECT_EQ(read_file(dir / "place" / "old"), "old");
  close(held);
  staged.commit();
  EXPECT_TRUE(fs::is_empty(dir / "place"));
}

TEST(StagedDirectory, RejectsTheRootOfAMountedFileSystemBeforeWriting) {
  EXPECT_THAT(error_message([] { StagedDirectory("/proc", Place::kReplace); }), HasSubstr("mounted file system"));
}

TEST(StagedDirectory, AnEmptyDirectoryMayBeALinkOrTheCurrentOne) {
  TempDir dir;
  fs::create_directory(dir / "empty");
  fs::create_directory_symlink("empty", dir / "link");
  for (const char* name : {"link", "empty/."}) {
    StagedDirectory staged(dir / name, Place::kNew);
    write_file(staged.path() / "new", "new");
    staged.commit();
    EXPECT_EQ(read_file(dir / "empty" / "new"), "new");
    fs::remove(dir / "empty" / "new");
  }
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
}

TEST(StagedDirectory, ALinkToADirectoryStaysALink) {
  TempDir dir;
  fs::create_directory(dir / "real");
  fs::create_directory_symlink("real", dir / "link");
  StagedDirectory staged(dir / "link", Place::kReplace);
  write_file(staged.path() / "new", "new");
  staged.commit();
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(read_file(dir / "real" / "new"), "new");
}

}  // namespace
}  // namespace outrider
