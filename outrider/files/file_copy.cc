#include "outrider/files/file_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

// Progress is reported after pieces of this size.
constexpr std::uint64_t kPiece = 16 << 20;
constexpr std::size_t kBuffer = 1 << 20;

[[noreturn]] void copy_failed(const fs::path& path, const std::string& message) {
  throw Error(fmt::format("{}: {}", printable(path.string(), 4096), message));
}
[[noreturn]] void writing_failed(const fs::path& path, int error) {
  copy_failed(path, fmt::format("writing failed ({}). Check the space left on the disk.", std::strerror(error)));
}
[[noreturn]] void ended(const fs::path& path) {
  copy_failed(path,
              "is shorter than expected: it was changed while it was read. Start again when nothing writes to it.");
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

void extend(OpenFile to, std::uint64_t size) {
  if (ftruncate(to.descriptor, static_cast<off_t>(size)) != 0) writing_failed(to.name, errno);
}

// Copies through a buffer, if the kernel cannot copy directly.
void append_through_memory(OpenFile from, std::uint64_t begin, std::uint64_t count, OpenFile to, std::uint64_t at) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kBuffer, count));
  while (count != 0) {
    const ssize_t got =
        pread(from.descriptor, buffer.data(), std::min<std::uint64_t>(buffer.size(), count), static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) copy_failed(from.name, fmt::format("reading failed ({}). Check the disk.", std::strerror(errno)));
    if (got == 0) ended(from.name);
    for (ssize_t put = 0; put < got;) {
      const ssize_t wrote =
          pwrite(to.descriptor, buffer.data() + put, static_cast<std::size_t>(got - put), static_cast<off_t>(at) + put);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) writing_failed(to.name, errno);
      put += wrote;
    }
    begin += static_cast<std::uint64_t>(got);
    at += static_cast<std::uint64_t>(got);
    count -= static_cast<std::uint64_t>(got);
  }
}

void append_data(OpenFile from, std::uint64_t begin, std::uint64_t count, OpenFile to, std::uint64_t at,
                 const std::function<void(std::uint64_t)>& copied) {
  bool in_kernel = true;
  while (count != 0) {
    const std::uint64_t piece = std::min(count, kPiece);
    std::uint64_t done = piece;
    if (in_kernel) {
      auto from_at = static_cast<off64_t>(begin);
      auto to_at = static_cast<off64_t>(at);
      const ssize_t moved = copy_file_range(from.descriptor, &from_at, to.descriptor, &to_at, piece, 0);
      if (moved < 0 && errno == EINTR) continue;
      if (moved == 0) ended(from.name);
      if (moved < 0) {
        if (errno == ENOSPC) writing_failed(to.name, errno);
        // Reading and writing separately shows which of the two fails, if any.
        in_kernel = false;
        continue;
      }
      done = static_cast<std::uint64_t>(moved);
    } else {
      append_through_memory(from, begin, piece, to, at);
    }
    begin += done;
    at += done;
    count -= done;
    if (copied) copied(done);
  }
}

void flush(int fd, const fs::path& path) {
  if (fsync(fd) != 0) {
    copy_failed(path, fmt::format("could not be flushed to disk ({}). Check the disk.", std::strerror(errno)));
  }
}

int create(const fs::path& path, mode_t mode = 0666) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) {
    copy_failed(path,
                fmt::format("cannot be written ({}). Check the directory and its permissions.", std::strerror(errno)));
  }
  return fd;
}

void keep_mode_and_times(int fd, const struct stat& status) {
  // File systems that support neither lose only the metadata.
  [[maybe_unused]] int ignored = fchmod(fd, status.st_mode & 07777);
  const std::array times = {status.st_atim, status.st_mtim};
  ignored = futimens(fd, times.data());
}

int open_source(const fs::path& path, struct stat& status) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) copy_failed(path, fmt::format("cannot be opened ({}). Check its permissions.", std::strerror(errno)));
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    copy_failed(path, "is not a regular file. Remove it, or move it out of the checkpoint.");
  }
  return fd;
}

bool reflink(int from, const struct stat& status, const fs::path& to) {
  const Descriptor made(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (made.get() < 0) return false;
  if (ioctl(made.get(), FICLONE, from) == 0) {
    keep_mode_and_times(made.get(), status);
    // The name may reach the disk before the extents do.
    flush(made.get(), to);
    return true;
  }
  unlink(to.c_str());
  return false;
}

}  // namespace

bool share_file(const fs::path& from, const fs::path& to, bool may_link, Cloned& how) {
  struct stat status {};
  const Descriptor source(open_source(from, status));
  if (reflink(source.get(), status, to)) {
    how = Cloned::kReflink;
    return true;
  }
  if (may_link && linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    how = Cloned::kHardLink;
    return true;
  }
  return false;
}

Cloned clone_file(const fs::path& from, const fs::path& to, bool may_link,
                  const std::function<void(std::uint64_t)>& copied) {
  Cloned how = Cloned::kCopied;
  if (share_file(from, to, may_link, how)) return how;
  struct stat status {};
  const Descriptor source(open_source(from, status));
  const Descriptor made(create(to));
  append_range({source.get(), from}, 0, static_cast<std::uint64_t>(status.st_size), {made.get(), to}, 0, copied);
  keep_mode_and_times(made.get(), status);
  flush(made.get(), to);
  return Cloned::kCopied;
}

void append_range(OpenFile from, std::uint64_t begin, std::uint64_t count, OpenFile to, std::uint64_t at,
                  const std::function<void(std::uint64_t)>& copied) {
  while (count != 0) {
    // The start and end of data; a file system without support for holes reports that everything is data.
    std::uint64_t data = begin;
    std::uint64_t end = begin + count;
    const off_t next = lseek(from.descriptor, static_cast<off_t>(begin), SEEK_DATA);
    if (next < 0 && errno == ENXIO) {
      struct stat status {};
      if (fstat(from.descriptor, &status) != 0 || static_cast<std::uint64_t>(status.st_size) < end) ended(from.name);
      data = end;
    } else if (next >= 0) {
      data = std::clamp(static_cast<std::uint64_t>(next), begin, end);
      const off_t hole = lseek(from.descriptor, static_cast<off_t>(data), SEEK_HOLE);
      if (hole > static_cast<off_t>(data)) end = std::min(end, static_cast<std::uint64_t>(hole));
    }
    if (data != begin) {
      extend(to, at + (data - begin));
      if (copied) copied(data - begin);
    }
    append_data(from, data, end - data, to, at + (data - begin), copied);
    at += end - begin;
    count -= end - begin;
    begin = end;
  }
}

FileStamp stamp_of(const fs::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    copy_failed(path,
                fmt::format("is gone ({}). Start again when nothing writes to the checkpoint.", std::strerror(errno)));
  }
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
          static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::uint64_t free_bytes(const fs::path& directory) {
  struct statvfs status {};
  if (statvfs(directory.c_str(), &status) != 0) {
    copy_failed(directory,
                fmt::format("the free space of its file system cannot be determined ({}).", std::strerror(errno)));
  }
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

void sync_directory(const fs::path& directory) {
  const Descriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) copy_failed(directory, fmt::format("cannot be opened ({}).", std::strerror(errno)));
  flush(fd.get(), directory);
}

SyncedFile::SyncedFile(const fs::path& path) : path_(path), fd_(create(path)) {}

SyncedFile::~SyncedFile() {
  close(fd_);
}

void SyncedFile::append(std::string_view text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t put = write(fd_, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) writing_failed(path_, errno);
    done += static_cast<std::size_t>(put);
  }
}

void SyncedFile::finish() {
  flush(fd_, path_);
}

void write_synced(const fs::path& path, const std::string& text) {
  SyncedFile file(path);
  file.append(text);
  file.finish();
}

}  // namespace outrider
