#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace outrider {

// A read-only memory map of a whole file. Throws Error if the file cannot be opened or mapped. Reads of a file that
// shrinks while it is mapped fault: map only files whose size was checked, and do not write to a mapped checkpoint.
class MappedFile {
 public:
  enum class Pages {
    kUsual,
    // Pages of 2 MiB where the kernel and the file system have them for files (transparent huge pages are "madvise" or
    // "always"; Linux 6.18 with ext4, say). What is in memory already keeps its pages.
    kHuge,
  };

  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path, Pages pages = Pages::kUsual);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Reads [begin, begin+count) from disk into memory, unless it is resident, and maps it, so that reading it does not
  // block. Throws Error if the disk fails.
  void fill(std::uint64_t begin, std::uint64_t count) const;
  // Tells the kernel that [begin, begin+count) will not be needed soon, so that resident memory stays bounded in a
  // scan. Surrounding pages that a fault would map too are dropped as well, and mapped again when they are read.
  void drop(std::uint64_t begin, std::uint64_t count) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace outrider
