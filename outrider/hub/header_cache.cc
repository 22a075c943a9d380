#include "outrider/hub/header_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "outrider/checkpoint/headers_only.h"
#include "outrider/files/file_copy.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/encode_path.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/replace_all.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxRecordBytes = 64 << 20;
constexpr std::string_view kMarkerText =
    "The .safetensors files here hold headers only. Their tensors were never downloaded and read as zeros.\n"
    "`outrider check` made this directory to check a checkpoint on a server; it may be removed.\n";

[[noreturn]] void fail(const fs::path& path, const std::string& what, int error) {
  throw Error(fmt::format("{}: cannot be {} ({}). Set OUTRIDER_CACHE to a directory with space that you may write to.",
                          printable(path.string(), 4096), what, std::generic_category().message(error)));
}

std::string file_name(std::string_view text) {
  const std::string out = replace_all(encode_path(text), "/", "%2F");
  return out == "." || out == ".." ? "%2E" + out.substr(1) : out;
}

fs::path entry_of(const RemoteAddress& address, const Url& endpoint) {
  if (!address.on_hub()) {
    constexpr std::size_t kTail = 100;
    const std::string path = file_name(address.base.path);
    const std::string tail = path.substr(path.size() - std::min(path.size(), kTail));
    return fs::path(file_name(address.base.authority())) /
           fmt::format("url--{}--{}", sha256(address.base.text()).substr(0, 16), tail);
  }
  std::string name = address.repository;
  name.replace(name.find('/'), 1, "--");
  const std::string folder = address.subfolder.empty() ? "" : "--" + sha256(address.subfolder).substr(0, 16);
  return fs::path(file_name(endpoint.authority() + endpoint.path)) / fmt::format("models--{}{}", name, folder);
}

void write_small(const fs::path& path, const std::string& text) {
  fs::path partial = path;
  partial += ".partial";
  std::error_code error;
  fs::remove(partial, error);
  write_synced(partial, text);
  fs::rename(partial, path);
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  std::string out;
  for (const unsigned char byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

HeaderCache::HeaderCache(const fs::path& cache, const RemoteAddress& address, const Url& endpoint)
    : entry_(cache / "headers-only" / entry_of(address, endpoint)) {
  std::error_code error;
  for (const char* folder : {"snapshots", "refs", "records"}) {
    fs::create_directories(entry_ / folder, error);
    if (error) fail(entry_ / folder, "created", error.value());
  }
  const fs::path path = entry_ / "lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail(path, "opened", errno);
  while (flock(lock_, LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    const int why = errno;
    ::close(lock_);
    fail(path, "locked", why);
  }
}

HeaderCache::~HeaderCache() {
  ::close(lock_);
}

std::string HeaderCache::snapshot_of(const std::string& revision) const {
  const fs::path ref = entry_ / "refs" / file_name(revision);
  std::error_code error;
  return fs::is_regular_file(ref, error) ? read_text_file(ref, 256) : "";
}

std::optional<fs::path> HeaderCache::find(const std::string& snapshot) const {
  if (!is_safe_name(snapshot)) return std::nullopt;
  fs::path out = entry_ / "snapshots" / snapshot;
  std::error_code error;
  return fs::is_directory(out, error) ? std::optional(std::move(out)) : std::nullopt;
}

CachedFiles HeaderCache::files_of(const std::string& snapshot) const {
  if (!find(snapshot)) return {};
  try {
    return parse_cache_record(read_text_file(entry_ / "records" / (snapshot + ".json"), kMaxRecordBytes));
  } catch (const Error&) {
    return {};  // then everything is read again
  }
}

void HeaderCache::start() {
  std::error_code error;
  fs::remove_all(entry_ / "unfinished", error);
  if (!error) fs::create_directory(entry_ / "unfinished", error);
  if (error) fail(entry_ / "unfinished", "created", error.value());
}

bool HeaderCache::reuse(const std::string& snapshot, const std::string& name) {
  const fs::path to = new_file(name);
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  fs::create_hard_link(entry_ / "snapshots" / snapshot / name, to, error);
  return !error;
}

void HeaderCache::discard(const std::string& name) {
  std::error_code error;
  fs::remove(new_file(name), error);
}

CachedFile HeaderCache::write(const std::string& name, std::string_view begin, std::uint64_t size,
                              const std::string& etag) {
  const fs::path path = new_file(name);
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  fs::remove(path, error);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) fail(path, "created", errno);
  int why = 0;
  for (std::string_view rest = begin; why == 0 && !rest.empty();) {
    const ssize_t wrote = ::write(fd, rest.data(), rest.size());
    if (wrote < 0 && errno != EINTR) why = errno;
    if (wrote > 0) rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  const bool fits = size <= static_cast<std::uint64_t>(INT64_MAX);
  if (why == 0 && !fits) why = EFBIG;
  if (why == 0 && size > begin.size() && ::ftruncate(fd, static_cast<off_t>(size)) != 0) why = errno;
  if (why == 0 && ::fdatasync(fd) != 0) why = errno;
  ::close(fd);
  if (why != 0) fail(path, fmt::format("written with the {} bytes that the server tells", size), why);
  return {etag, size, sha256(begin)};
}

fs::path HeaderCache::finish(const std::string& snapshot, const CachedFiles& files, const std::string& revision) {
  const fs::path out = entry_ / "snapshots" / snapshot;
  if (!find(snapshot)) {
    write_synced(entry_ / "unfinished" / kHeadersOnlyMarker, std::string(kMarkerText));
    sync_directory(entry_ / "unfinished");
    write_small(entry_ / "records" / (snapshot + ".json"), cache_record(files));
    std::error_code error;
    fs::rename(entry_ / "unfinished", out, error);
    if (error) fail(out, "created", error.value());
  } else {
    std::error_code ignored;
    fs::remove_all(entry_ / "unfinished", ignored);
  }
  record(revision, snapshot);
  return out;
}

void HeaderCache::record(const std::string& revision, const std::string& snapshot) {
  if (snapshot_of(revision) != snapshot) write_small(entry_ / "refs" / file_name(revision), snapshot);
}

}  // namespace outrider
