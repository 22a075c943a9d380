#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "outrider/checkpoint/dtype.h"

namespace outrider {

struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kU8;
  std::vector<std::uint64_t> shape;
};

// Writes a safetensors file in constant memory: the header is computed from the list, then the tensors' bytes are
// appended in the order tensors() gives (largest alignment first, then by name, as the reference implementation does,
// so that every tensor is aligned to its element). Data starts at a multiple of 8.
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
  // Skips bytes, which read back as zeros and take no disk space where the file system has sparse files.
  void append_zeros(std::uint64_t count);
  // Checks that exactly the announced bytes were written, flushes to disk (fsync) and closes.
  void finish();

 private:
  std::filesystem::path path_;
  std::vector<TensorToWrite> tensors_;
  std::uint64_t expected_ = 0;
  std::uint64_t written_ = 0;
  int fd_ = -1;
};

}  // namespace outrider
