#include "outrider/files/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "outrider/files/file_reader.h"
#include "outrider/util/error.h"

namespace outrider {

MappedFile::MappedFile(const std::filesystem::path& path, Pages pages) : path_(path) {
  const FileReader file(path);
  size_ = file.size();
  if (size_ == 0) return;
  void* at = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (at == MAP_FAILED) {
    const int error = errno;
    const std::string message = fmt::format("{}: cannot be mapped ({}). Check the limits on address space (ulimit -v).",
                                            path.string(), std::strerror(error));
    if (error == ENOMEM) throw TemporaryError(message);
    throw Error(message);
  }
  data_ = static_cast<const std::byte*>(at);
  if (pages == Pages::kHuge) madvise(at, size_, MADV_HUGEPAGE);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  path_.swap(other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::fill(std::uint64_t begin, std::uint64_t count) const {
  if (data_ == nullptr || begin >= size_) return;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t first = begin / page * page;
  const std::uint64_t last = std::min<std::uint64_t>(begin + count, size_);
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
  if (madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_POPULATE_READ) == 0) return;
  if (errno == EFAULT || errno == EIO || errno == EHWPOISON) {
    throw Error(fmt::format("{}: bytes {} to {} cannot be read: the file was truncated, or the disk is failing.",
                            path_.string(), first, last));
  }
  // Before 5.14, Linux limits read-ahead only by its own judgement.
  madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_WILLNEED);
}

void MappedFile::drop(std::uint64_t begin, std::uint64_t count) const {
  if (data_ == nullptr || begin >= size_) return;
  // For many small tensors, this is most of the memory that would stay.
  constexpr std::uint64_t kMappedByAFault = 2 << 20;  // a folio of the page cache, at most
  const std::uint64_t first = begin / kMappedByAFault * kMappedByAFault;
  const std::uint64_t last =
      std::min<std::uint64_t>((begin + count + kMappedByAFault - 1) / kMappedByAFault * kMappedByAFault, size_);
  if (first < last) madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

}  // namespace outrider
