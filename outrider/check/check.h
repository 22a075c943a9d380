#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/binding/foreign_format.h"
#include "outrider/binding/plan.h"
#include "outrider/check/finding.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// Called during a scan of values with the bytes read so far and in all.
using ScanProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct CheckOptions {
  bool data = false;                               // read values
  bool headers_only = false;                       // tensors and tokenizer.json were not downloaded
  bool drafter_data = false;                       // read values of the drafter's tensors only
  std::optional<std::filesystem::path> reference;  // a source checkpoint to compare with
  ThreadPool* pool = &calling_thread();
  ScanProgress progress;
};

// The storage of a module group's parameters.
struct GroupSummary {
  ModuleGroup group = ModuleGroup::kNorms;
  bool drafter = false;
  std::string form;  // "FP8 block (E8M0 scale)", "BF16"
  std::uint64_t parameters = 0;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;  // on disk, companions included
};

struct DrafterSummary {
  DrafterKind kind = DrafterKind::kNone;
  std::uint64_t announced = 0;  // num_nextn_predict_layers
  std::uint32_t blocks = 0;     // on disk
  std::uint64_t tensors = 0;
  std::uint32_t own_heads = 0;  // blocks or stages that have their own
  std::uint32_t own_embeddings = 0;
};

struct ScanSummary {
  std::uint64_t bytes = 0;
  double seconds = 0;
};

// The result of running the model on a few prompts. The caller runs it; `check` itself runs nothing.
struct ProbeSummary {
  std::uint64_t prompts = 0;
  std::uint64_t drafts = 0;  // one per round
  std::uint64_t accepted = 0;
  double lowest = 0;  // acceptance by prompt
  double highest = 0;
  double seconds = 0;

  double rate() const { return drafts == 0 ? 0 : static_cast<double>(accepted) / static_cast<double>(drafts); }
};

// The files of a checkpoint.
struct ContentSummary {
  std::filesystem::path path;  // or the address on a server
  std::vector<ShardFile> files;
  std::uint64_t tensors = 0;
  std::uint64_t tensor_bytes = 0;
  bool names_only = false;
};

// A parameter of a GGUF file, or a stack of all experts', and the tensor that holds it.
struct GgufSource {
  std::string parameter;  // official name; "*" stands for the number of an expert
  std::string file;
  std::string tensor;  // empty if it is missing
  std::string form;    // ggml's type
};
struct GgufSummary {
  bool complete = false;  // every parameter has a tensor of its shape
  std::vector<GgufSource> sources;
};

// Where the headers of a remote checkpoint came from.
struct RemoteSummary {
  std::string commit;  // empty where there is none
  bool offline = false;
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;       // read from the network
  std::uint64_t files_read = 0;  // the others were in the cache
  double seconds = 0;
};

// Everything that `outrider check` reports about a checkpoint.
struct CheckReport {
  ContentSummary contents;
  std::shared_ptr<const Checkpoint> checkpoint;  // nullptr for a GGUF file
  std::optional<GgufSummary> gguf;               // set for a GGUF file only
  std::optional<ConfigReading> config;
  std::string family;   // "DeepSeek-V4-Flash, official FP4/FP8"
  std::string dialect;  // "official", "Hugging Face (model. prefix)", …
  DrafterSummary drafter;
  std::vector<GroupSummary> groups;
  std::vector<std::pair<TensorUse, std::vector<TensorPattern>>> unused;
  std::vector<Finding> findings;  // errors first
  // Set if the weights are in another engine's format (OUT029). Missing tensors are not reported then.
  std::optional<ForeignFormat> foreign;
  // Set if a manifest could be built from the config.
  std::shared_ptr<const BindingReport> binding;
  // Set if and only if the checkpoint is complete.
  std::shared_ptr<const CompletePlan> plan;
  std::optional<ScanSummary> scan;
  std::optional<ProbeSummary> probe;
  std::optional<RemoteSummary> remote;

  // Keeps findings in order.
  void add(Finding finding);
  bool complete() const { return gguf ? gguf->complete : plan != nullptr; }
  std::uint64_t count(Severity severity) const;
  bool has(Code id) const;
  // 0 sound, 1 findings of severity error (with `strict`: or warning), 2 something could not be read.
  int exit_status(bool strict = false) const;
};

// Throws Error if there is nothing to report on: no such path, no checkpoint there, no readable config.json.
CheckReport check_path(const std::filesystem::path& path, const CheckOptions& options = {});
CheckReport check_checkpoint(std::shared_ptr<const Checkpoint> checkpoint, const CheckOptions& options = {});

}  // namespace outrider
