#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "outrider/checkpoint/dtype.h"
#include "outrider/files/file_reader.h"

namespace outrider {

struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kU8;
  std::vector<std::uint64_t> shape;
};

// Writes a safetensors file in constant memory: the header is computed from the list, then the tensors' bytes are
// appended in the order tensors() gives (largest alignment first, then by name, as the reference implementation does,
// so that every tensor is aligned to its element), or put where they belong in any order. Data starts at a multiple of
// 8.
//
// Throws Error on duplicate names, overflow, a wrong number of bytes, or an I/O failure. Until finish() has returned,
// the file is incomplete.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  const std::vector<TensorToWrite>& tensors() const { return tensors_; }
  // Appends the next bytes of the data section.
  void append(std::span<const std::byte> bytes);
  // Appends bytes [begin, begin + count) of another file, within the kernel where it can; holes stay holes. `copied` is
  // called after each piece.
  void append_from(const FileReader& file, const std::filesystem::path& name, std::uint64_t begin, std::uint64_t count,
                   const std::function<void(std::uint64_t bytes)>& copied = {});
  // Puts bytes of tensors()[tensor], from its byte `at` on. Not to be mixed with appending; each byte once.
  void put(std::size_t tensor, std::uint64_t at, std::span<const std::byte> bytes);
  // Skips bytes, which read back as zeros and take no disk space where the file system has sparse files.
  void append_zeros(std::uint64_t count);
  // Checks that exactly the announced bytes were written, flushes to disk (fsync) and closes.
  void finish();

 private:
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  void need_room(std::uint64_t bytes) const;

  std::filesystem::path path_;
  std::vector<TensorToWrite> tensors_;
  std::vector<std::uint64_t> offsets_;  // by tensor, from the start of the data
  std::uint64_t data_start_ = 0;
  std::uint64_t expected_ = 0;
  std::uint64_t written_ = 0;
  int fd_ = -1;
};

}  // namespace outrider
