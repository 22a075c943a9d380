#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace outrider {

// A read-only memory map of a whole file. Throws Error when the file cannot be opened or mapped.
// A file that shrinks while it is mapped makes reads fault: map only files whose size was checked, and do not write to
// a mapped checkpoint.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Reads [begin, begin+count) from the disk into memory, unless it is there, and maps it, so that no read of it waits.
  // Throws Error where the disk fails.
  void fill(std::uint64_t begin, std::uint64_t count) const;
  // Tells the kernel that [begin, begin+count) will not be needed again soon, so resident memory stays bounded in a
  // scan. What lies around it, as far as a fault maps it too, goes along, and is mapped again where it is read.
  void drop(std::uint64_t begin, std::uint64_t count) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace outrider
