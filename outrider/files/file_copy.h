#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace outrider {

// How a file was cloned.
enum class Cloned {
  kReflink,   // separate file, shared extents
  kHardLink,  // a second name of the same file
  kCopied,
};

// Clones `from` to `to`, which must not exist: by reflink, by hard link if `may_link`, or by a copy that is flushed to
// disk. Follows symbolic links of `from`. A copy keeps mode and times. Throws Error.
Cloned clone_file(const std::filesystem::path& from, const std::filesystem::path& to, bool may_link,
                  const std::function<void(std::uint64_t bytes)>& copied = {});
// Like clone_file, but never copies, and returns false instead of throwing.
bool share_file(const std::filesystem::path& from, const std::filesystem::path& to, bool may_link, Cloned& how);

// Appends bytes [begin, begin + count) of one open file to another that ends at `at`; preserves holes, and copies the
// rest within the kernel if possible. Calls `copied` after each piece. Throws Error, with `from_name` or `to_name` in
// its message.
struct OpenFile {
  int descriptor;
  const std::filesystem::path& name;
};
void append_range(OpenFile from, std::uint64_t begin, std::uint64_t count, OpenFile to, std::uint64_t at,
                  const std::function<void(std::uint64_t bytes)>& copied = {});

// Identifies a version of a file: device, inode, size and modification time.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
// Throws Error if there is no such file.
FileStamp stamp_of(const std::filesystem::path& path);

// The free space, in bytes, that an unprivileged process can use on the file system of `directory`.
std::uint64_t free_bytes(const std::filesystem::path& directory);

// Flushes a directory's entries to disk; throws Error.
void sync_directory(const std::filesystem::path& directory);
// A new file that is written sequentially. Throws Error.
class SyncedFile {
 public:
  explicit SyncedFile(const std::filesystem::path& path);
  ~SyncedFile();
  SyncedFile(const SyncedFile&) = delete;
  SyncedFile& operator=(const SyncedFile&) = delete;

  void append(std::string_view text);
  // Flushes the file to disk; it is incomplete until this has returned.
  void finish();

 private:
  std::filesystem::path path_;
  int fd_;
};
// Writes a small file and flushes it to disk; throws Error.
void write_synced(const std::filesystem::path& path, const std::string& text);

}  // namespace outrider
