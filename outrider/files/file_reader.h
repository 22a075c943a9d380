#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace outrider {

// A regular file opened for reading. Rejects directories, FIFOs and devices without blocking on them. Throws Error.
class FileReader {
 public:
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  std::uint64_t size() const { return size_; }
  int descriptor() const { return fd_; }
  // Fills `to` from `offset`; throws Error if the file ends before, or on an I/O error.
  void read(std::uint64_t offset, std::span<std::byte> to) const;

 private:
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
  int fd_ = -1;
};

// Throws Error if the file is larger than `max_bytes`.
void check_size(const FileReader& file, const std::filesystem::path& path, std::uint64_t max_bytes);

// Reads a whole file; throws Error if it is larger than `max_bytes` or cannot be read.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace outrider
