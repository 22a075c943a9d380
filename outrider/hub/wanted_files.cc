#include "outrider/hub/wanted_files.h"

#include <map>
#include <string_view>
#include <utility>

#include "outrider/checkpoint/headers_only.h"
#include "outrider/hub/remote_address.h"

namespace outrider {
namespace {

constexpr std::uint64_t kMaxConfig = 16 << 20;
constexpr std::uint64_t kMaxQuantization = 64 << 20;
constexpr std::uint64_t kDescriptionBytes = 64 << 10;  // as much as tells the type of a ModelSlim model
// A header's entry is its name and about 80 characters: {"dtype":"F8_E4M3","shape":[2048,4096],"data_offsets":[…,…]}.
constexpr std::uint64_t kEntryBytes = 84;
constexpr std::uint64_t kMetadataBytes = 1024;

// What is read of a file beside the index and the safetensors files; nothing of most.
std::optional<WantedFile> wanted_side_file(const std::string& name) {
  if (name == "config.json") return WantedFile{name, Part::kWhole, kMaxConfig, {}, {}};
  if (name == "generation_config.json") return WantedFile{name, Part::kWhole, 1 << 20, {}, {}};
  if (name == "tokenizer.json") return WantedFile{name, Part::kExistence, 0, {}, {}};
  if (name == "hf_quant_config.json" || name == "quantize_config.json" || name == "quant_config.json") {
    return WantedFile{name, Part::kWhole, kMaxQuantization, {}, {}};
  }
  if (name.starts_with("quant_model_description") && name.ends_with(".json") && name.find('/') == std::string::npos) {
    return WantedFile{name, Part::kBeginning, kDescriptionBytes, {}, {}};
  }
  return std::nullopt;
}

}  // namespace

std::vector<WantedFile> wanted_small_files(const RepositoryListing& listing) {
  std::vector<WantedFile> out;
  for (const RepositoryListing::File& file : listing.files) {
    std::optional<WantedFile> wanted = wanted_side_file(file.name);
    if (!wanted && file.name.ends_with(kIndexSuffix) && file.name.find('/') == std::string::npos) {
      wanted = WantedFile{file.name, Part::kWhole, kMaxIndexBytes, {}, {}};
    }
    if (!wanted) continue;
    wanted->size = file.size;
    wanted->etag = file.etag;
    out.push_back(std::move(*wanted));
  }
  return out;
}

std::vector<WantedFile> wanted_small_files_of_url() {
  std::vector<WantedFile> out{{std::string(kIndexFileName), Part::kWhole, kMaxIndexBytes, {}, {}}};
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "hf_quant_config.json",
                           "quantize_config.json", "quant_config.json", "quant_model_description.json"}) {
    out.push_back(*wanted_side_file(name));
  }
  return out;
}

std::vector<WantedFile> wanted_shards(const RepositoryListing* listing, const IndexFile* index) {
  std::map<std::string, std::uint64_t> guesses;
  if (index != nullptr) {
    for (const IndexFile::Entry& entry : index->weight_map) {
      std::uint64_t& guess = guesses.try_emplace(index->shards[entry.shard], 8 + kMetadataBytes).first->second;
      guess += entry.tensor.size() + kEntryBytes;
    }
  }
  std::vector<WantedFile> out;
  const auto add = [&](const std::string& name, const RepositoryListing::File* file) {
    if (!is_safe_name(name) || name == kHeadersOnlyMarker) return;
    const auto guess = guesses.find(name);
    WantedFile wanted{name, Part::kHeader, guess == guesses.end() ? kUsualHeader : guess->second, {}, {}};
    if (file != nullptr) {
      wanted.size = file->size;
      wanted.etag = file->etag;
    }
    out.push_back(std::move(wanted));
  };
  if (listing != nullptr) {
    for (const RepositoryListing::File& file : listing->files) {
      const bool beside = file.name.ends_with(".safetensors") && file.name.find('/') == std::string::npos;
      if (beside || guesses.contains(file.name)) add(file.name, &file);
    }
  } else {
    for (const auto& [name, guess] : guesses) {
      if (is_inside(name)) add(name, nullptr);
    }
  }
  return out;
}

}  // namespace outrider
