#include "outrider/checkpoint/checkpoint_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <system_error>

#include "outrider/checkpoint/foreign_file.h"
#include "outrider/checkpoint/hub_cache.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/unfinished_download.h"
#include "outrider/files/file_reader.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNoWeights = "has no .safetensors file and no model.safetensors.index.json";
constexpr std::string_view kAdapterFile = "adapter_model.safetensors";
constexpr std::string_view kAdapterConfig = "adapter_config.json";
constexpr std::uint64_t kMaxAdapterConfigBytes = 1 << 20;
constexpr std::size_t kNamesShown = 5;

std::string shown(const fs::path& path) {
  return printable(path.string(), 4096);
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool is_weights(const std::string& name) {
  return name.ends_with(kIndexSuffix) || (name.ends_with(".safetensors") && name != kAdapterFile);
}

bool is_regular(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i)
    out += (i == 0 ? "" : ", ") + printable(names[i], 400);
  return names.size() > kNamesShown ? fmt::format("{} and {} more", out, names.size() - kNamesShown) : out;
}

// "OWNER/NAME", as the hub allows it.
bool is_repository_id(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == text.size()) return false;
  const auto plain = [](std::string_view piece) {
    return piece[0] != '.' && piece[0] != '~' && std::ranges::all_of(piece, [](unsigned char c) {
             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
  };
  return plain(text.substr(0, slash)) && plain(text.substr(slash + 1));
}

// The repository that a URL of the hub names; empty where it names none.
std::string repository_of_url(std::string_view url) {
  for (const std::string_view prefix : {"hf://models/", "hf://", "https://huggingface.co/", "http://huggingface.co/",
                                        "https://www.huggingface.co/", "https://hf.co/"}) {
    if (!url.starts_with(prefix)) continue;
    const std::string_view rest = url.substr(prefix.size());
    const std::size_t slash = rest.find('/');
    const std::size_t end = slash == std::string_view::npos ? rest.size() : rest.find_first_of("/?#@", slash + 1);
    const std::string_view id = rest.substr(0, end);
    return is_repository_id(id) ? std::string(id) : "";
  }
  return "";
}

std::string download_advice(const std::string& id) {
  return fmt::format(
      "`outrider check hf://{}` checks it there. For anything else run `hf download {} --local-dir {}`, then "
      "give that directory.",
      id, id, id.substr(id.find('/') + 1));
}

// Why there is nothing at a path.
std::string absent_text(const std::string& given, const std::error_code& error) {
  if (const std::size_t scheme = given.find("://"); scheme != std::string::npos && scheme != 0) {
    const std::string id = repository_of_url(given);
    if (!id.empty()) return fmt::format("is a URL of the Hugging Face hub. {}", download_advice(id));
    return "is a URL, which only `outrider check` reads. Download the checkpoint and give its directory.";
  }
  if (is_repository_id(given) && !is_folder(fs::path(given).parent_path())) {
    return fmt::format("there is no such path; it looks like the id of a repository on the Hugging Face hub. {}",
                       download_advice(given));
  }
  const std::string why = why_absent(given);
  const std::string reason = error && error != std::errc::no_such_file_or_directory ? error.message()
                             : why.empty()                                          ? "no such file or directory"
                                                                                    : why;
  return fmt::format("{}. Give a checkpoint's directory, a .safetensors file or its index.", reason);
}

std::string adapter_text(const fs::path& directory) {
  std::string base;
  std::string type;
  try {
    const auto config = parse_bounded_json(read_text_file(directory / kAdapterConfig, kMaxAdapterConfigBytes),
                                           std::string(kAdapterConfig));
    if (const auto it = config.find("base_model_name_or_path"); it != config.end() && it->is_string()) base = *it;
    if (const auto it = config.find("peft_type"); it != config.end() && it->is_string()) type = *it;
  } catch (const std::exception&) {
    // What it is an adapter of is told where it can be read.
  }
  return fmt::format(
      "is an adapter{}{}, not a model. Merge it into its base model (peft: merge_and_unload(), then "
      "save_pretrained()), and give the result.",
      type.empty() ? std::string() : fmt::format(" ({})", printable(type)),
      base.empty() ? std::string() : fmt::format(" of {}", printable(base)));
}

// The first file of another format, and how many there are of it; `of_what` is the directory's part that they are in.
std::optional<std::string> foreign_files_text(const fs::path& directory, const std::vector<std::string>& names,
                                              const std::string& of_what) {
  std::optional<ForeignFile> format;
  std::string first;
  std::size_t count = 0;
  for (const std::string& name : names) {
    // Files of settings that end like weights are small: training_args.bin, scheduler.pt, rng_state.pth.
    const bool settings = name.starts_with("training_args") || name.starts_with("scheduler") ||
                          name.starts_with("rng_state") || name.starts_with("optimizer") || name.ends_with(".npy") ||
                          name.ends_with(".index.json");
    if (settings || is_folder(directory / name)) continue;
    const auto found = recognise_foreign_file(directory / name);
    if (!found || (format && found->plural != format->plural)) continue;
    if (count++ == 0) {
      format = found;
      first = name;
    }
  }
  if (!format) return std::nullopt;
  const std::string what = count == 1 ? fmt::format("{}, {}", printable(first), format->what)
                                      : fmt::format("{} {}, the first of them {}, {}", count, format->plural,
                                                    printable(first), format->what);
  return fmt::format("has {}{}; Outrider reads safetensors. {}", of_what, what, format->what_now);
}

// What a directory without weights of its own has in the directories below.
std::optional<std::string> below_text(const fs::path& directory, const std::vector<std::string>& names) {
  std::vector<std::string> models;
  std::vector<std::string> weights;
  std::optional<std::string> foreign;
  for (const std::string& name : names) {
    const fs::path below = directory / name;
    if (name.starts_with(".") || !is_folder(below)) continue;
    try {
      const std::vector<std::string> inside = names_in(below);
      if (std::ranges::any_of(inside, is_weights)) (contains(inside, "config.json") ? models : weights).push_back(name);
      if (!foreign) foreign = foreign_files_text(below, inside, fmt::format("in {}: ", printable(name)));
    } catch (const Error&) {
      continue;  // not to be listed: nothing is known of it
    }
  }
  if (models.size() == 1) {
    return fmt::format("has no weights itself; the model is in the subdirectory {}. Give {}.", printable(models[0]),
                       shown(directory / models[0]));
  }
  if (models.size() > 1) {
    return fmt::format("has no weights itself, but {} models in subdirectories. Give one of them: {}.", models.size(),
                       listed(models));
  }
  if (!weights.empty()) {
    const bool config = contains(names, "config.json");
    return fmt::format("{}; there are some in the subdirectory {}, {}. Give a directory with both.", kNoWeights,
                       listed(weights), config ? "without config.json, which is here" : "without a config.json");
  }
  return foreign;
}

// Why a directory without weights is no checkpoint.
std::string no_weights_text(const fs::path& directory, const std::vector<std::string>& names) {
  if (names.empty()) return fmt::format("is empty: it {}. Give the checkpoint's directory.", kNoWeights);
  if (contains(names, kAdapterConfig) || contains(names, kAdapterFile)) return adapter_text(directory);
  if (auto text = foreign_files_text(directory, names, "")) return *text;
  if (const std::string unfinished = unfinished_downloads(directory); !unfinished.empty()) {
    return fmt::format("{} yet: {}. `{}` resumes the download.", kNoWeights, unfinished, download_command(directory));
  }
  if (const auto entries = hub_entries(directory); !entries.empty()) {
    std::vector<std::string> paths;
    for (const fs::path& entry : entries) paths.push_back(entry.string());
    return fmt::format("is the cache of the Hugging Face hub, with {} model{}. Give one of them: {}.", entries.size(),
                       entries.size() == 1 ? "" : "s", listed(paths));
  }
  if (const auto entries = hub_entries(directory / "hub"); !entries.empty()) {
    return fmt::format("is the Hugging Face client's cache. Give one of the models in {}, such as {}.",
                       shown(directory / "hub"), shown(entries[0]));
  }
  if (auto text = below_text(directory, names)) return *text;
  if (contains(names, "config.json")) {
    return fmt::format("has a config.json but {}. Download the weights: `{}`.", kNoWeights,
                       download_command(directory));
  }
  return fmt::format("{}. Give the checkpoint's directory.", kNoWeights);
}

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(fmt::format("{}: {}", shown(path), what));
}

// A file that stands for no checkpoint. Safetensors files, and what nothing is known of, pass.
void expect_checkpoint_file(const fs::path& file) {
  const std::string name = file.filename().string();
  const fs::path directory = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (name == kAdapterFile && !is_regular(directory / "config.json")) refuse(file, adapter_text(directory));
  if (const auto format = recognise_foreign_file(file)) {
    refuse(file, fmt::format("is {}; Outrider reads safetensors. {}", format->what, format->what_now));
  }
  if (name.ends_with(".json") && name.find("index") == std::string::npos) {
    refuse(file, fmt::format("is not a checkpoint's index. Give the directory: {}.", shown(directory)));
  }
}

}  // namespace

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator it(directory, error);
  for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) refuse(directory, fmt::format("cannot be listed ({}). Check its permissions.", error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

fs::path checkpoint_path(const fs::path& given) {
  std::error_code error;
  const fs::file_status status = fs::status(given, error);
  if (!fs::exists(status)) refuse(given, absent_text(given.string(), error));
  if (!fs::is_directory(status)) {
    expect_checkpoint_file(given);
    return given;
  }
  const std::vector<std::string> names = names_in(given);
  if (std::ranges::any_of(names, is_weights)) return given;
  if (is_hub_entry(given)) return checkpoint_path(hub_snapshot(given));
  const fs::path whole = fs::absolute(given, error).lexically_normal();
  const fs::path parent = (whole.has_filename() ? whole : whole.parent_path()).parent_path();
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  if ((name == "snapshots" || name == "blobs" || name == "refs") && is_hub_entry(parent)) {
    return checkpoint_path(hub_snapshot(parent));
  }
  refuse(given, no_weights_text(given, names));
}

}  // namespace outrider
