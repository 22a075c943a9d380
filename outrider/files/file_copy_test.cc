#include "outrider/files/file_copy.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using testing::read_file;
using testing::TempDir;
using testing::write_file;

std::string noise(std::size_t size) {
  std::string out(size, '\0');
  std::mt19937 random(7);
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

std::string appended(const std::filesystem::path& from, const std::filesystem::path& to, std::uint64_t begin,
                     std::uint64_t count, const std::string& before, std::uint64_t* copied = nullptr) {
  write_file(to, before);
  const int in = open(from.c_str(), O_RDONLY);
  const int out = open(to.c_str(), O_WRONLY);
  append_range({in, from}, begin, count, {out, to}, before.size(), [copied](std::uint64_t bytes) {
    if (copied != nullptr) *copied += bytes;
  });
  close(in);
  close(out);
  return read_file(to);
}

TEST(FileCopy, AppendsAnyRange) {
  TempDir dir;
  const std::string content = noise(3'000'001);
  write_file(dir / "from", content);
  for (const auto& [begin, count] :
       {std::pair<std::size_t, std::size_t>{0, 3'000'001}, {1, 4097}, {4096, 1'000'000}, {3'000'000, 1}, {17, 0}}) {
    std::uint64_t copied = 0;
    EXPECT_EQ(appended(dir / "from", dir / "to", begin, count, "before", &copied),
              "before" + content.substr(begin, count));
    EXPECT_EQ(copied, count);
  }
}

TEST(FileCopy, PreservesHoles) {
  TempDir dir;
  const std::uint64_t size = 256 << 20;
  write_file(dir / "from", "begin");
  ASSERT_EQ(truncate((dir / "from").c_str(), static_cast<off_t>(size)), 0);
  {
    const int fd = open((dir / "from").c_str(), O_WRONLY);
    ASSERT_EQ(pwrite(fd, "middle", 6, size / 2), 6);
    close(fd);
  }
  write_file(dir / "to", "");
  const int in = open((dir / "from").c_str(), O_RDONLY);
  const int out = open((dir / "to").c_str(), O_RDWR);
  const std::filesystem::path from = dir / "from";
  const std::filesystem::path to = dir / "to";
  append_range({in, from}, 0, size, {out, to}, 0);
  struct stat status {};
  ASSERT_EQ(fstat(out, &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), size);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  char text[6] = {};
  ASSERT_EQ(pread(out, text, 6, size / 2), 6);
  EXPECT_EQ(std::string_view(text, 6), "middle");
  close(in);
  close(out);
}

TEST(FileCopy, AFileThatIsTooShortIsAnError) {
  TempDir dir;
  write_file(dir / "from", "short");
  EXPECT_THROW(appended(dir / "from", dir / "to", 0, 100, ""), Error);
  EXPECT_THROW(appended(dir / "from", dir / "to", 50, 1, ""), Error);
}

TEST(FileCopy, ClonesWithAndWithoutLinks) {
  TempDir dir;
  const std::string content = noise(100'000);
  write_file(dir / "from", content);
  chmod((dir / "from").c_str(), 0640);
  for (const bool may_link : {true, false}) {
    const std::filesystem::path to = dir / (may_link ? "linked" : "own");
    const Cloned how = clone_file(dir / "from", to, may_link);
    EXPECT_EQ(read_file(to), content);
    EXPECT_EQ(static_cast<unsigned>(std::filesystem::status(to).permissions()), 0640U);
    EXPECT_EQ(stamp_of(to).inode == stamp_of(dir / "from").inode, how == Cloned::kHardLink);
    EXPECT_EQ(stamp_of(to).modified_ns, stamp_of(dir / "from").modified_ns);
    if (!may_link) {
      EXPECT_NE(how, Cloned::kHardLink);
    }
  }
}

}  // namespace
}  // namespace outrider
