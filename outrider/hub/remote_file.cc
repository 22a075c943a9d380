#include "outrider/hub/remote_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "outrider/checkpoint/safetensors_header.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/load.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxErrorBytes = 64 << 10;  // of the body of an answer that is none

[[noreturn]] void fail(const Url& url, const std::string& what) {
  throw Error(fmt::format("{}: {}", url.shown(), what));
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// "bytes 0-99/1234" of a reply with status 206.
struct ContentRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size = 0;
};
std::optional<ContentRange> content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1, slash - dash - 1));
  const auto size = number(text.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last + 1, *size};
}

[[noreturn]] void refuse_status(const Downloader& downloader, const Url& url, const DownloadReply& reply) {
  const bool hub = may_carry_token(url, downloader.settings().endpoint);
  const bool token = hub && !downloader.settings().token.empty();
  const std::string told = reply.field("x-error-message");
  const std::string said = told.empty() ? "" : fmt::format(" (\"{}\")", printable(told, 300));
  if (reply.status == 401 || reply.status == 403) {
    fail(url,
         fmt::format("access is denied, status {}{}. {}", reply.status, said,
                     token ? "Check that HF_TOKEN is valid and that its account may read the repository: the terms "
                             "of a gated one are accepted on its page."
                     : hub ? "For a private or gated repository set HF_TOKEN, or run `hf auth login`; the terms of "
                             "a gated one are accepted on its page."
                           : "HF_TOKEN is sent to HF_ENDPOINT alone."));
  }
  fail(url, fmt::format("the server answers with status {}{}. Check the address.", reply.status, said));
}

std::uint64_t body_of_error(const DownloadReply& reply) {
  return reply.status == 200 || reply.status == 206 ? 0 : kMaxErrorBytes;
}

DownloadRequest request_for(const std::string& known_etag) {
  DownloadRequest out;
  if (!known_etag.empty()) out.headers.emplace_back("If-None-Match", fmt::format("\"{}\"", known_etag));
  return out;
}

// The state, commit and ETag of an answer with a file, or that there is none.
RemoteFile file_of(const Downloader& downloader, const Url& url, const Answer& answer, const std::string& known_etag) {
  RemoteFile out;
  out.commit = answer.commit;
  out.etag = answer.linked_etag.empty() ? plain_etag(answer.reply.field("etag")) : answer.linked_etag;
  const unsigned status = answer.reply.status;
  if (status == 404 || status == 410) {
    out.state = RemoteFile::State::kAbsent;
  } else if (status == 304 && !known_etag.empty()) {
    out.state = RemoteFile::State::kUnchanged;
  } else if (status != 200 && status != 206 && status != 416) {
    refuse_status(downloader, url, answer.reply);
  }
  return out;
}

// The end of the header by a file's first bytes: as far as there is one, within what the format allows.
std::uint64_t header_end(std::string_view begin, const std::optional<std::uint64_t>& size) {
  if (begin.size() < 8) return 8;
  const auto length = load<std::uint64_t>(reinterpret_cast<const std::byte*>(begin.data()));
  const bool possible = length <= kMaxHeaderBytes && (!size || (*size >= 8 && length <= *size - 8));
  return possible ? 8 + length : 0;
}

// Reads bytes [begin, end) of a file, fewer where it ends before; more from its start, up to the end of the header,
// where `with_header` and the server sends all.
RemoteFile read_range(Downloader& downloader, const Url& url, std::uint64_t begin, std::uint64_t end, bool with_header,
                      const std::string& known_etag) {
  DownloadRequest request = request_for(known_etag);
  request.headers.emplace_back("Range", fmt::format("bytes={}-{}", begin, end - 1));
  request.wanted = [&](const DownloadReply& reply) {
    if (reply.status == 206) return end - begin;
    if (reply.status != 200) return body_of_error(reply);
    return with_header ? std::max(end, header_end(reply.body, number(reply.field("content-length")))) : end;
  };
  Answer answer = downloader.get(url, request);
  RemoteFile out = file_of(downloader, url, answer, known_etag);
  if (out.state != RemoteFile::State::kRead) return out;
  DownloadReply& reply = answer.reply;
  if (reply.status == 416) {  // the range begins at the end or behind it
    const std::string range = reply.field("content-range");
    out.size = range.starts_with("bytes */") ? number(std::string_view(range).substr(8)) : std::nullopt;
    if (!out.size || *out.size > begin) fail(url, "the server refuses a range within the file (status 416).");
    return out;
  }
  if (reply.status == 200) {
    out.size = number(reply.field("content-length"));
    if (!out.size && reply.body.size() < end) out.size = reply.body.size();
    reply.body.erase(0, std::min<std::uint64_t>(begin, reply.body.size()));
    out.begin = std::move(reply.body);
    return out;
  }
  const auto range = content_range(reply.field("content-range"));
  if (!range || range->begin != begin || range->end != std::min(end, range->size) ||
      reply.body.size() != range->end - begin) {
    fail(url,
         fmt::format("asked for bytes {} to {}, the server sends {} bytes and calls them \"{}\". Try again; a proxy "
                     "between may be at fault.",
                     begin, end - 1, reply.body.size(), printable(reply.field("content-range"))));
  }
  out.size = range->size;
  out.begin = std::move(reply.body);
  return out;
}

}  // namespace

RemoteFile read_remote_file(Downloader& downloader, const Url& url, std::uint64_t max_bytes,
                            const std::string& known_etag) {
  DownloadRequest request = request_for(known_etag);
  request.wanted = [&](const DownloadReply& reply) {
    const std::uint64_t length = number(reply.field("content-length")).value_or(0);
    if (reply.status == 200) return length > max_bytes ? 0 : max_bytes + 1;
    return body_of_error(reply);
  };
  Answer answer = downloader.get(url, request);
  RemoteFile out = file_of(downloader, url, answer, known_etag);
  if (out.state != RemoteFile::State::kRead) return out;
  if (answer.reply.status != 200) refuse_status(downloader, url, answer.reply);
  if (number(answer.reply.field("content-length")).value_or(0) > max_bytes || answer.reply.body.size() > max_bytes) {
    fail(url, fmt::format("is larger than {}, which no such file is. Check the repository.", bytes_text(max_bytes)));
  }
  out.begin = std::move(answer.reply.body);
  out.size = out.begin.size();
  return out;
}

RemoteFile read_remote_beginning(Downloader& downloader, const Url& url, std::uint64_t bytes,
                                 const std::string& known_etag) {
  return read_range(downloader, url, 0, bytes, false, known_etag);
}

RemoteFile read_remote_header(Downloader& downloader, const Url& url, std::uint64_t guess,
                              const std::string& known_etag) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    RemoteFile file = read_range(downloader, url, 0, guess, true, known_etag);
    if (file.state != RemoteFile::State::kRead || file.begin.size() < 8) return file;
    const std::uint64_t end = header_end(file.begin, file.size);
    if (end == 0) return file;
    if (end <= file.begin.size()) {
      file.begin.resize(end);
      return file;
    }
    const RemoteFile rest = read_range(downloader, url, file.begin.size(), end, false, {});
    if (rest.state == RemoteFile::State::kRead && rest.etag == file.etag && rest.size == file.size &&
        rest.begin.size() == end - file.begin.size()) {
      file.begin += rest.begin;
      return file;
    }
  }
  fail(url, "changes while it is read. Run the command again when its upload is finished.");
}

RemoteFile find_remote_file(Downloader& downloader, const Url& url) {
  DownloadRequest request;
  request.method = "HEAD";
  request.wanted = [](const DownloadReply&) { return 0; };
  const Answer answer = downloader.get(url, request);
  RemoteFile out;
  const unsigned status = answer.reply.status;
  out.etag = plain_etag(answer.reply.field("etag"));
  if (status == 200) out.size = number(answer.reply.field("content-length"));
  out.state = status == 404 || status == 410 ? RemoteFile::State::kAbsent : RemoteFile::State::kRead;
  return out;
}

}  // namespace outrider
