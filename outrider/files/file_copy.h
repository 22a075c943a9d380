#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace outrider {

// How a file came to have the content of another.
enum class Cloned {
  kReflink,   // own file, shared extents
  kHardLink,  // a second name of the same file
  kCopied,
};

// Gives `to`, which must not exist, the content of `from`: by reflink, by hard link where `may_link`, or as a copy that
// is flushed to disk. Symbolic links of `from` are followed. A copy keeps mode and times. Throws Error.
Cloned clone_file(const std::filesystem::path& from, const std::filesystem::path& to, bool may_link,
                  const std::function<void(std::uint64_t bytes)>& copied = {});
// As clone_file, but throws nothing and does nothing where only a copy would do.
bool share_file(const std::filesystem::path& from, const std::filesystem::path& to, bool may_link, Cloned& how);

// Appends bytes [begin, begin + count) of one open file to another that ends at `at`; holes stay holes, the rest is
// copied within the kernel where it can. `copied` is called after each piece. Throws Error, with `from_name` or
// `to_name` in its message.
struct OpenFile {
  int descriptor;
  const std::filesystem::path& name;
};
void append_range(OpenFile from, std::uint64_t begin, std::uint64_t count, OpenFile to, std::uint64_t at,
                  const std::function<void(std::uint64_t bytes)>& copied = {});

// What tells that a file was changed: device, inode, size and time of modification.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;

  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
// Throws Error where there is no such file.
FileStamp stamp_of(const std::filesystem::path& path);

// Bytes that an unprivileged writer may still write to the file system of `directory`.
std::uint64_t free_bytes(const std::filesystem::path& directory);

// Flushes a directory's entries to disk; throws Error.
void sync_directory(const std::filesystem::path& directory);
// A new file that is written from its beginning to its end. Throws Error.
class SyncedFile {
 public:
  explicit SyncedFile(const std::filesystem::path& path);
  ~SyncedFile();
  SyncedFile(const SyncedFile&) = delete;
  SyncedFile& operator=(const SyncedFile&) = delete;

  void append(std::string_view text);
  // Flushes it to disk; until this has returned, the file is incomplete.
  void finish();

 private:
  std::filesystem::path path_;
  int fd_;
};
// Writes a small file and flushes it to disk; throws Error.
void write_synced(const std::filesystem::path& path, const std::string& text);

}  // namespace outrider
