#include "outrider/checkpoint/gguf_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <system_error>

#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/checkpoint/hub_cache.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".gguf";
constexpr unsigned kMaxFiles = 65535;  // split.count is a 16-bit number

std::optional<unsigned> five_digits(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.size() != 5 || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The names of all files of the model that NAME-00002-of-00004.gguf is a part of; the name itself if it is not split.
std::vector<std::string> names_of_model(const std::string& name) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() <= kPattern.size()) return {name};
  const std::string stem = name.substr(0, name.size() - kPattern.size());
  const std::string_view tail = std::string_view(name).substr(stem.size());
  const auto number = five_digits(tail.substr(1, 5));
  const auto count = five_digits(tail.substr(10, 5));
  if (!number || !count || tail[0] != '-' || tail.substr(6, 4) != "-of-" || !tail.ends_with(kEnding)) return {name};
  if (*number < 1 || *number > *count || *count > kMaxFiles) return {name};
  std::vector<std::string> names;
  for (unsigned i = 1; i <= *count; ++i) names.push_back(fmt::format("{}-{:05}-of-{:05}{}", stem, i, *count, kEnding));
  return names;
}

GgufFile open_file(const fs::path& path) {
  GgufFile out;
  out.file.name = path.filename().string();
  out.file.path = path;
  std::error_code error;
  out.file.present = fs::exists(path, error);
  if (!out.file.present) return out;
  try {
    out.header = read_gguf_header(path);
    out.file.problem = out.header.problem;
    out.file.file_bytes = out.header.file_bytes;
    out.file.data_start = out.header.data_start;
    out.file.tensor_count = static_cast<std::uint32_t>(out.header.tensors.size());
  } catch (const Error& e) {
    out.file.problem = e.what();
  }
  return out;
}

// The model that a file is of, if it is of this architecture, which its first file says.
std::optional<GgufModel> model_of(const fs::path& file, std::string_view architecture) {
  const fs::path directory = file.parent_path();
  const std::vector<std::string> names = names_of_model(file.filename().string());
  GgufModel model{directory / names[0], {}};
  for (const std::string& name : names) {
    model.files.push_back(open_file(directory / name));
    if (model.metadata().architecture != architecture) return std::nullopt;
  }
  return model;
}

std::optional<GgufModel> model_in(const fs::path& directory, std::string_view architecture) {
  std::vector<GgufModel> models;
  std::set<std::string> seen;
  for (const std::string& name : names_in(directory)) {
    if (name.ends_with(kIndexSuffix) || name.ends_with(".safetensors")) return std::nullopt;
    if (!name.ends_with(kEnding) || !seen.insert(names_of_model(name)[0]).second) continue;
    if (auto model = model_of(directory / name, architecture)) models.push_back(std::move(*model));
  }
  if (models.empty()) return std::nullopt;
  if (models.size() == 1) return std::move(models[0]);
  std::string list;
  for (std::size_t i = 0; i < std::min<std::size_t>(models.size(), 5); ++i) {
    list += (i == 0 ? "" : ", ") + printable(models[i].path.string(), 400);
  }
  if (models.size() > 5) list += fmt::format(" and {} more", models.size() - 5);
  throw Error(fmt::format("{}: has {} GGUF models. Give one of them: {}.", printable(directory.string(), 4096),
                          models.size(), list));
}

}  // namespace

std::optional<GgufModel> open_gguf(const fs::path& path, std::string_view architecture) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_regular_file(status)) {
    return is_gguf_file(path) ? model_of(path, architecture) : std::nullopt;
  }
  if (!fs::is_directory(status)) return std::nullopt;
  return model_in(is_hub_entry(path) ? hub_snapshot(path) : path, architecture);
}

}  // namespace outrider
