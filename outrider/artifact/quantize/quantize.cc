#include "outrider/artifact/quantize/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "outrider/artifact/convert/huggingface_config.h"
#include "outrider/artifact/quantization_config.h"
#include "outrider/artifact/shards.h"
#include "outrider/backend/linear.h"
#include "outrider/check/context.h"
#include "outrider/check/quantization_files.h"
#include "outrider/check/report.h"
#include "outrider/checkpoint/index_file.h"
#include "outrider/files/staged_directory.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// The unit of copying, after which memory is released.
constexpr std::size_t kPiece = 16 << 20;

// A parameter of the new artifact, and how it is produced.
struct Job {
  ParameterId from = 0;
  bool encoded = false;  // otherwise the source's bytes
  bool widened = false;  // to F32, from any form
  TargetForm form;
  std::optional<ParameterId> fused_with;  // the other half of a matrix that engines fuse
  std::vector<TensorToWrite> tensors;     // in the order of encoded_tensors()
  std::uint64_t bytes = 0;
};

struct Shard {
  std::string name;
  std::vector<Job> jobs;

  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const Job& job : jobs) sum += job.bytes;
    return sum;
  }
};

std::string errors_name(const Shard& shard) {
  return fmt::format(".{}.errors", shard.name);
}

class Planner {
 public:
  Planner(const CompletePlan& plan, const QuantizeOptions& options)
      : plan_(plan), manifest_(plan.manifest()), options_(options) {}

  std::vector<Shard> run() {
    for (ParameterId p = 0; p < manifest_.parameters().size(); ++p) {
      const Parameter& parameter = manifest_[p];
      const Binding& b = plan_.binding(p);
      if (parameter.falls_back_to) {
        // Aliases are for loaders of MTP blocks.
        if (b.shared && (!options_.recipe.aliases || parameter.block.kind == BlockKind::kDspark)) continue;
        add(alias(p));
      } else {
        add(job(p));
      }
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      shards_[i].name = shards_.size() == 1 ? std::string("model.safetensors")
                                            : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
    }
    return std::move(shards_);
  }

 private:
  static std::string name_of(const Parameter& p, Component component) {
    return tensor_name(p, component, false, false);
  }
  const TensorInfo& weight(ParameterId p) const {
    return plan_.report().tensor(*plan_.binding(p).tensor(Component::kWeight));
  }

  Job job(ParameterId p) const {
    const Parameter& parameter = manifest_[p];
    const Storage storage = parameter.spec().storage;
    const bool linear = storage == Storage::kLinear || storage == Storage::kLinearNative;
    const bool plain = plan_.binding(p).form == StorageForm::kPlain;
    std::optional<TargetForm> form;
    if (storage == Storage::kLinear && (!is_drafter(parameter.block) || options_.recipe.quantise_mtp)) {
      form = options_.recipe.form_of(parameter.spec().group);
    }
    if (!linear || (!form && plain)) return copied(p);
    return encoded(p, form.value_or(TargetForm{}));
  }

  Job copied(ParameterId p) const {
    const Parameter& parameter = manifest_[p];
    Job job;
    job.from = p;
    const auto shape = parameter.shape.span();
    job.tensors.push_back({name_of(parameter, Component::kWeight), weight(p).dtype, {shape.begin(), shape.end()}});
    return job;
  }

  Job encoded(ParameterId p, const TargetForm& form) const {
    const Parameter& parameter = manifest_[p];
    Job job;
    job.from = p;
    job.encoded = true;
    job.form = form;
    job.fused_with = other_half(parameter);
    for (EncodedTensor& t : encoded_tensors(form, parameter.shape.dims[0], parameter.shape.dims[1], parameter.name())) {
      job.tensors.push_back({name_of(parameter, t.component), t.dtype, std::move(t.shape)});
    }
    return job;
  }

  // Engines fuse w1 and w3, and use w1's global scale for both (vLLM's CompressedTensorsW4A4Nvfp4MoEMethod).
  std::optional<ParameterId> other_half(const Parameter& p) const {
    const auto of = [&](Slot slot) { return manifest_.find(p.block, slot, p.expert); };
    switch (p.slot) {
      case Slot::kExpertW1:
        return of(Slot::kExpertW3);
      case Slot::kExpertW3:
        return of(Slot::kExpertW1);
      case Slot::kSharedW1:
        return of(Slot::kSharedW3);
      case Slot::kSharedW3:
        return of(Slot::kSharedW1);
      default:
        return std::nullopt;
    }
  }

  // An MTP block's own head or embedding: its own, or a copy of the model's.
  Job alias(ParameterId p) const {
    const Parameter& parameter = manifest_[p];
    const bool widen = parameter.slot == Slot::kHead && options_.recipe.alias_in_float32;
    Job out = !widen && plan_.binding(p).form == StorageForm::kPlain ? copied(p) : encoded(p, TargetForm{});
    out.widened = widen;
    if (widen) out.tensors[0].dtype = Dtype::kF32;
    return out;
  }

  void add(Job job) {
    for (const TensorToWrite& t : job.tensors) job.bytes += *tensor_bytes(t.dtype, t.shape);
    if (shards_.empty() || (filled_ + job.bytes > options_.max_shard_bytes && filled_ != 0)) {
      shards_.emplace_back();
      filled_ = 0;
    }
    filled_ += job.bytes;
    shards_.back().jobs.push_back(std::move(job));
  }

  const CompletePlan& plan_;
  const Manifest& manifest_;
  const QuantizeOptions& options_;
  std::vector<Shard> shards_;
  std::uint64_t filled_ = 0;
};

class Quantizer {
 public:
  Quantizer(std::shared_ptr<const CompletePlan> plan, ThreadPool& pool, const WriteProgress& progress)
      : plan_(std::move(plan)), weights_(plan_), pool_(pool), progress_(progress) {}

  void expect(std::uint64_t bytes) { total_ = bytes; }

  // Writes a shard; returns a line per encoded weight.
  std::string write(const Shard& shard, const fs::path& path) {
    std::vector<TensorToWrite> list;
    for (const Job& job : shard.jobs) list.insert(list.end(), job.tensors.begin(), job.tensors.end());
    SafetensorsWriter writer(path, std::move(list), {{"format", "pt"}});
    std::map<std::string_view, std::size_t> position;
    for (std::size_t i = 0; i < writer.tensors().size(); ++i) position[writer.tensors()[i].name] = i;
    std::string lines;
    for (const Job& job : shard.jobs) {
      const std::size_t first = position.at(job.tensors[0].name);
      if (job.widened) {
        widen(job, writer, first);
      } else if (job.encoded) {
        const EncodingError error = encode(job, writer, position);
        lines += fmt::format("{}\t{}\t{:.6g}\t{:.6g}\n", plan_->manifest()[job.from].name(),
                             job.form.form == StorageForm::kPlain ? "BF16" : storage_form_name(job.form.form),
                             error.relative(), error.largest);
      } else {
        copy(job, writer, first);
      }
      tell(job.bytes);
    }
    writer.finish();
    return lines;
  }

 private:
  void tell(std::uint64_t bytes) {
    done_ += bytes;
    if (progress_) progress_(done_, total_);
  }

  // Calls work(row, values, stride) for every kEncodedRows rows, on all threads.
  template <typename Work>
  void strips(const Linear& source, const Work& work) {
    const std::size_t stride = padded(source.cols());
    const std::size_t count = (source.rows() + kEncodedRows - 1) / kEncodedRows;
    pool_.ranges(count, 1, [&](std::size_t begin, std::size_t end) {
      std::vector<float> values(kEncodedRows * stride);
      std::vector<float> scratch;
      for (std::size_t s = begin; s < end; ++s) {
        const std::size_t first = s * kEncodedRows;
        const std::size_t rows = std::min(kEncodedRows, source.rows() - first);
        for (std::size_t r = 0; r < rows; ++r) {
          source.decode(kernels_, first + r, values.data() + r * stride, scratch);
        }
        work(s, first, rows, values, stride);
      }
    });
  }

  // The largest magnitude of a weight.
  float largest(const Linear& source) {
    std::vector<float> of((source.rows() + kEncodedRows - 1) / kEncodedRows);
    strips(source,
           [&](std::size_t s, std::size_t, std::size_t rows, const std::vector<float>& values, std::size_t stride) {
             for (std::size_t r = 0; r < rows; ++r) {
               for (std::size_t c = 0; c < source.cols(); ++c)
                 of[s] = std::max(of[s], std::fabs(values[r * stride + c]));
             }
           });
    return *std::max_element(of.begin(), of.end());
  }

  void forget(ParameterId p) const {
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      const auto component = static_cast<Component>(c);
      weights_.drop(p, component, 0, weights_.bytes(p, component).size());
    }
  }

  void copy(const Job& job, SafetensorsWriter& writer, std::size_t tensor) const {
    const std::span<const std::byte> bytes = weights_.bytes(job.from, Component::kWeight);
    for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
      const std::span<const std::byte> piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
      writer.put(tensor, at, piece);
      weights_.drop(job.from, Component::kWeight, at, piece.size());
    }
  }

  // Written row by row, since a head in F32 is large.
  void widen(const Job& job, SafetensorsWriter& writer, std::size_t tensor) const {
    const Linear source(weights_, job.from);
    const std::size_t row_bytes = source.cols() * sizeof(float);
    std::vector<float> row(padded(source.cols()));
    std::vector<float> scratch;
    std::size_t since = 0;
    for (std::size_t r = 0; r < source.rows(); ++r) {
      source.decode(kernels_, r, row.data(), scratch);
      writer.put(tensor, r * row_bytes, std::as_bytes(std::span(row).first(source.cols())));
      since += row_bytes;
      if (since < kPiece) continue;
      forget(job.from);
      since = 0;
    }
  }

  EncodingError encode(const Job& job, SafetensorsWriter& writer,
                       const std::map<std::string_view, std::size_t>& position) {
    const Linear source(weights_, job.from);
    const std::size_t count = (source.rows() + kEncodedRows - 1) / kEncodedRows;
    const std::size_t cols = source.cols();
    std::vector<EncodingError> errors(count);
    float amax = 0;
    if (storage_form(job.form.form).encodes_by_amax) {
      amax = largest(source);
      if (job.fused_with) {
        amax = std::max(amax, largest(Linear(weights_, *job.fused_with)));
        forget(*job.fused_with);
      }
    }
    std::vector<std::vector<std::byte>> out;
    for (const TensorToWrite& t : job.tensors) out.emplace_back(*tensor_bytes(t.dtype, t.shape));
    strips(source, [&](std::size_t s, std::size_t first, std::size_t rows, const std::vector<float>& values,
                       std::size_t stride) {
      errors[s] = encode_rows(job.form, {values.data(), stride, first, rows, cols, amax}, out);
    });
    encode_whole(job.form, source.rows(), cols, amax, out);
    for (std::size_t i = 0; i < out.size(); ++i) writer.put(position.at(job.tensors[i].name), 0, out[i]);
    forget(job.from);
    EncodingError sum;
    for (const EncodingError& e : errors) sum.add(e);
    if (!std::isfinite(sum.squared)) {
      throw Error(
          fmt::format("{}: has values that are NaN or infinite, which cannot be quantised. Run `outrider check "
                      "--data` on the source.",
                      plan_->manifest()[job.from].name()));
    }
    return sum;
  }

  std::shared_ptr<const CompletePlan> plan_;
  Weights weights_;
  ThreadPool& pool_;
  const Kernels& kernels_ = default_kernels();
  const WriteProgress& progress_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

std::vector<Checkpoint::Listed> listing_of(const std::vector<Shard>& shards) {
  std::vector<Checkpoint::Listed> list;
  for (const Shard& shard : shards) {
    for (const Job& job : shard.jobs) {
      for (const TensorToWrite& t : job.tensors) list.push_back({t.name, t.dtype, t.shape, shard.name});
    }
  }
  return list;
}

std::string config_for(const CheckReport& source, const std::vector<Shard>& shards, const Recipe& recipe) {
  ordered_json config = source.config->spelling == ConfigSpelling::kInference
                            ? huggingface_config(*source.config)
                            : ordered_json::parse(source.checkpoint->config_json(), nullptr, false);
  for (const char* of_the_source : {"quantization_config", "compression_config", "quantization", "expert_dtype"}) {
    config.erase(of_the_source);
  }
  const auto experts = recipe.form_of(ModuleGroup::kExperts);
  const std::string_view dtype = experts ? storage_form(experts->form).description.expert_dtype : "";
  if (!dtype.empty()) config["expert_dtype"] = dtype;
  const CheckReport listed =
      check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::from_listing(listing_of(shards), config.dump())));
  if (listed.plan == nullptr) {
    throw Error("the quantised artifact would be incomplete. Please report this.");
  }
  describe_quantization(config, *listed.binding);
  return config.dump(2) + "\n";
}

// Identifies a run's sources and outputs; the leftover of a different run cannot be resumed.
std::string fingerprint(const SourceStamps& sources, const std::vector<Shard>& shards) {
  std::string out = sources.text();
  for (const Shard& shard : shards) {
    for (const Job& job : shard.jobs) {
      for (const TensorToWrite& t : job.tensors) {
        out += fmt::format("{} {} {} {}\n", shard.name, t.name, dtype_name(t.dtype), shape_text(t.shape));
      }
    }
  }
  return out;
}

std::vector<GroupError> summary(const Manifest& manifest, const std::string& lines) {
  std::map<std::string, double> of;
  std::map<std::string, std::string> forms;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find('\t');
    const std::size_t second = line.find('\t', first + 1);
    const std::size_t third = line.find('\t', second + 1);
    if (third == std::string::npos) continue;
    of[line.substr(0, first)] = std::strtod(line.c_str() + second + 1, nullptr);
    forms[line.substr(0, first)] = line.substr(first + 1, second - first - 1);
  }
  std::map<std::tuple<bool, ModuleGroup, std::string>, GroupError> groups;
  for (const Parameter& p : manifest.parameters()) {
    const auto it = of.find(p.name());
    if (it == of.end()) continue;
    GroupError& g = groups[{is_drafter(p.block), p.spec().group, forms[it->first]}];
    g.group = p.spec().group;
    g.drafter = is_drafter(p.block);
    g.form = forms[it->first];
    g.mean += it->second;
    ++g.weights;
    if (it->second >= g.worst) {
      g.worst = it->second;
      g.worst_name = it->first;
    }
  }
  std::vector<GroupError> out;
  for (auto& [key, g] : groups) {
    g.mean /= static_cast<double>(g.weights);
    out.push_back(std::move(g));
  }
  return out;
}

}  // namespace

QuantizeResult quantize(const fs::path& source, const fs::path& output, const QuantizeOptions& options,
                        const WriteProgress& progress) {
  refuse_inside(source, output);
  SourceStamps sources;
  sources.add_directory(source);
  CheckOptions with;
  ThreadPool pool(options.threads);
  with.pool = &pool;
  const CheckReport before = check_path(source, with);
  refuse_foreign(before, source);
  if (before.plan == nullptr) {
    throw Error(fmt::format("{}: the checkpoint is incomplete:{}\nRun `outrider check` on it, and `outrider repair`.",
                            printable(source.string(), 4096), incomplete_text(before)));
  }
  const std::vector<Shard> shards = Planner(*before.plan, options).run();
  NewArtifact artifact;
  artifact.texts.emplace_back("config.json", config_for(before, shards, options.recipe));
  artifact.others = source;
  for (const ShardFile& file : before.checkpoint->files()) artifact.without.push_back(file.name);
  // They describe how the source is quantised.
  for (std::string& name : quantization_files(source)) artifact.without.push_back(std::move(name));
  std::uint64_t total = 0;
  for (const Shard& shard : shards) total += shard.bytes();

  StagedDirectory staged(output, StagedDirectory::Place::kNew, fingerprint(sources, shards));
  // A file's name says that it, and its list of errors, is complete. Everything else is written again: a killed run may
  // have left partial texts.
  std::set<std::string> finished;
  for (const Shard& shard : shards) {
    if (fs::exists(staged.path() / shard.name)) finished.insert({shard.name, errors_name(shard)});
  }
  staged.keep_only(finished);
  std::uint64_t missing = 0;
  for (const Shard& shard : shards) missing += finished.contains(shard.name) ? 0 : shard.bytes();
  need_space(staged.path(), missing);
  Quantizer quantizer(before.plan, pool, progress);
  quantizer.expect(missing);
  std::string lines;
  for (const Shard& shard : shards) {
    const fs::path errors = staged.path() / errors_name(shard);
    if (!finished.contains(shard.name)) {
      const fs::path unfinished = staged.path() / fmt::format(".{}.unfinished", shard.name);
      const std::string text = quantizer.write(shard, unfinished);
      sources.expect_unchanged();
      write_synced(errors, text);
      fs::rename(unfinished, staged.path() / shard.name);
      sync_directory(staged.path());
    }
    lines += read_text_file(errors, 1 << 28);
  }
  artifact.texts.emplace_back(kErrorFileName, "weight\tform\trelative_error\tlargest_error\n" + lines);
  std::string index;
  index_json(listing_of(shards), total, [&](std::string_view text) { index += text; });
  artifact.texts.emplace_back(kIndexFileName, std::move(index));
  artifact.with_index = false;
  write_artifact(artifact, staged.path(), false);
  QuantizeResult result;
  result.resumed = staged.resumed();
  result.report = check_path(staged.path(), with);
  if (result.report.plan == nullptr) {
    throw Error(fmt::format("{}: the quantised artifact is incomplete, so it was discarded. Please report this.",
                            printable(source.string(), 4096)));
  }
  sources.expect_unchanged();
  for (const Shard& shard : shards) fs::remove(staged.path() / errors_name(shard));
  staged.commit();
  result.errors = summary(before.plan->manifest(), lines);
  return result;
}

}  // namespace outrider
