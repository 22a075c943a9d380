#include "outrider/files/file_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {

FileReader::FileReader(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    const int error = errno;
    throw Error(fmt::format("{}: cannot be opened ({}). Check the path and its permissions.",
                            printable(path.string(), 4096), std::strerror(error)));
  }
  struct stat status {};
  if (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    const bool directory = S_ISDIR(status.st_mode);
    close(fd_);
    throw Error(fmt::format("{}: is {}, not a regular file. Remove it and download the file again.",
                            printable(path.string(), 4096), directory ? "a directory" : "a pipe, socket or device"));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

FileReader::~FileReader() {
  close(fd_);
}

void FileReader::read(std::uint64_t offset, std::span<std::byte> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t got = pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw Error(fmt::format(
          "{}: reading {} bytes at {} failed ({}). Check the disk, and that nothing writes to the file.",
          printable(path_.string(), 4096), to.size(), offset, got < 0 ? std::strerror(errno) : "the file ends there"));
    }
    done += static_cast<std::size_t>(got);
  }
}

void check_size(const FileReader& file, const std::filesystem::path& path, std::uint64_t max_bytes) {
  if (file.size() <= max_bytes) return;
  throw Error(
      fmt::format("{}: has {} bytes, over the maximum of {} for such a file. It is probably not what its name says; "
                  "download it again.",
                  printable(path.string(), 4096), file.size(), max_bytes));
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const FileReader file(path);
  check_size(file, path, max_bytes);
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace outrider
