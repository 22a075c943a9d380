#include "outrider/checkpoint/safetensors_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/files/file_copy.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error(fmt::format("{}: {}", printable(path.string(), 4096), message));
}

// A header of `tensors` in their order, padded so that data starts at a multiple of 8.
std::string header_json(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                        const std::map<std::string, std::string>& metadata, std::vector<std::uint64_t>& offsets,
                        std::uint64_t& total) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (!metadata.empty()) root["__metadata__"] = metadata;
  std::set<std::string_view> seen;
  for (const TensorToWrite& t : tensors) {
    if (t.name == "__metadata__" || !seen.insert(t.name).second) {
      fail(path, fmt::format("two tensors of the file are called {}; each needs its own name.", printable(t.name)));
    }
    const std::optional<std::uint64_t> bytes = tensor_bytes(t.dtype, t.shape);
    std::uint64_t end = 0;
    if (!bytes || __builtin_add_overflow(total, *bytes, &end)) {
      fail(path, fmt::format("tensor {} ({} {}) has no whole number of bytes, or more than a file can have.",
                             printable(t.name), dtype_name(t.dtype), shape_text(t.shape)));
    }
    root[t.name] = {{"dtype", dtype_name(t.dtype)}, {"shape", t.shape}, {"data_offsets", {total, end}}};
    offsets.push_back(total);
    total = end;
  }
  std::string json;
  try {
    json = root.dump();
  } catch (const nlohmann::json::exception&) {
    fail(path, "a tensor's name or the metadata is not UTF-8.");
  }
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeaderBytes) {
    fail(path, fmt::format("its header would have {} bytes; the format allows {}. Split the tensors over more files.",
                           json.size(), kMaxHeaderBytes));
  }
  return json;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path), tensors_(std::move(tensors)) {
  std::sort(tensors_.begin(), tensors_.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    const unsigned a_bits = dtype_bits(a.dtype);
    const unsigned b_bits = dtype_bits(b.dtype);
    return a_bits != b_bits ? a_bits > b_bits : a.name < b.name;
  });
  const std::string json = header_json(path_, tensors_, metadata, offsets_, expected_);
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0)
    fail(path_, fmt::format("cannot be written ({}). Check the directory and its permissions.", std::strerror(errno)));
  const std::uint64_t length = json.size();
  std::string head(8, '\0');
  std::memcpy(head.data(), &length, 8);
  head += json;
  data_start_ = head.size();
  expected_ += head.size();
  append(std::as_bytes(std::span(head)));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ >= 0) close(fd_);
}

void SafetensorsWriter::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0)
      fail(path_, fmt::format("writing failed ({}). Check the space left on the disk.", std::strerror(errno)));
    done += static_cast<std::size_t>(put);
  }
  written_ += bytes.size();
}

void SafetensorsWriter::need_room(std::uint64_t bytes) const {
  if (fd_ < 0) fail(path_, "is finished; nothing can be added to it.");
  if (bytes > expected_ - written_) {
    fail(path_, fmt::format("{} bytes more were given than its tensors have.", bytes - (expected_ - written_)));
  }
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  need_room(bytes.size());
  write_at(written_, bytes);
}

void SafetensorsWriter::append_from(const FileReader& file, const std::filesystem::path& name, std::uint64_t begin,
                                    std::uint64_t count, const std::function<void(std::uint64_t)>& copied) {
  need_room(count);
  append_range({file.descriptor(), name}, begin, count, {fd_, path_}, written_, copied);
  written_ += count;
}

void SafetensorsWriter::put(std::size_t tensor, std::uint64_t at, std::span<const std::byte> bytes) {
  need_room(bytes.size());
  write_at(data_start_ + offsets_[tensor] + at, bytes);
}

void SafetensorsWriter::append_zeros(std::uint64_t count) {
  need_room(count);
  if (ftruncate(fd_, static_cast<off_t>(written_ + count)) != 0) {
    fail(path_, fmt::format("cannot be extended ({}). Check the space left on the disk.", std::strerror(errno)));
  }
  written_ += count;
}

void SafetensorsWriter::finish() {
  if (fd_ < 0) return;
  if (written_ != expected_) {
    fail(path_, fmt::format("{} bytes of its tensors were not written.", expected_ - written_));
  }
  const int fd = std::exchange(fd_, -1);
  const bool flushed = fsync(fd) == 0;
  const int error = errno;
  if (close(fd) != 0 || !flushed) {
    fail(path_,
         fmt::format("could not be flushed to disk ({}). Check the disk.", std::strerror(flushed ? errno : error)));
  }
}

}  // namespace outrider
