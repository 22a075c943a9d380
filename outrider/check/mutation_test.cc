// Removes, renames, retypes, reshapes or duplicates any one tensor of a sound artifact: always found, always named.

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/check/check.h"

namespace outrider {
namespace {

using synthetic::Family;

struct Subject {
  std::string name;
  std::string shape;
  Family family;
  bool aliases;
};

struct Sound {
  std::string config;
  std::vector<Checkpoint::Listed> tensors;
};

Sound sound_artifact(const Subject& subject) {
  Sound out;
  out.config = synthetic::config_json(subject.shape, subject.family, subject.family == Family::kFp8 ? 2 : 1);
  synthetic::SyntheticOptions options;
  options.family = subject.family;
  options.mtp_aliases = subject.aliases;
  options.shards = 3;
  out.tensors = synthetic::tensor_list(read_config(out.config).config, options);
  return out;
}

CheckReport check_list(const std::vector<Checkpoint::Listed>& list, const std::string& config) {
  return check_checkpoint(std::make_shared<const Checkpoint>(Checkpoint::from_listing(list, config)));
}

// The codes and tensor names of a report, to see what a mutation adds.
std::multiset<std::string> reported(const CheckReport& report) {
  std::multiset<std::string> out;
  for (const Finding& f : report.findings) {
    if (f.kind().severity == Severity::kInfo) continue;
    for (const TensorPattern& p : f.tensors) {
      out.insert(std::string(f.kind().code) + " " + p.pattern + " " + std::to_string(p.count));
      for (const std::string& name : p.examples) out.insert(std::string(f.kind().code) + " " + name);
    }
  }
  return out;
}

bool names(const CheckReport& report, const std::multiset<std::string>& before, const std::string& tensor) {
  for (const std::string& entry : reported(report)) {
    if (before.contains(entry)) continue;
    if (entry.find(tensor) != std::string::npos) return true;
    // The message may name it if the list of a pattern is abbreviated.
  }
  for (const Finding& f : report.findings) {
    if (f.message.find(tensor) != std::string::npos && f.kind().severity != Severity::kInfo) return true;
  }
  return false;
}

const char* const kMutations[] = {"remove", "rename", "retype", "reshape", "duplicate"};

class Mutation : public ::testing::TestWithParam<Subject> {};

TEST_P(Mutation, IsFoundAndNamed) {
  const Sound sound = sound_artifact(GetParam());
  const CheckReport before = check_list(sound.tensors, sound.config);
  ASSERT_NE(before.plan, nullptr);
  ASSERT_EQ(before.exit_status(), 0);
  const std::multiset<std::string> told_before = reported(before);

  std::mt19937 random(20260101);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  for (int round = 0; round < 1000; ++round) {
    std::vector<Checkpoint::Listed> tensors = sound.tensors;
    // Every tensor in turn for the first rounds, then at random.
    const std::size_t at = static_cast<std::size_t>(round) < tensors.size() / 2 ? static_cast<std::size_t>(round) * 2
                                                                                : pick(tensors.size());
    Checkpoint::Listed& t = tensors[at];
    const std::string original = t.name;
    const std::string mutation = kMutations[pick(5)];
    std::string expected = original;
    std::string what = mutation;
    what.append(" ").append(original);
    if (mutation == "remove") {
      tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (mutation == "rename") {
      switch (pick(3)) {
        case 0:
          t.name += "x";
          break;
        case 1:
          t.name = "x." + t.name;
          break;
        default:
          t.name[pick(t.name.size())] = '~';
      }
      expected = t.name;
      what += " to " + t.name;
    } else if (mutation == "retype") {
      // Prefers a dtype with the same number of bits, so that the size does not give it away.
      std::vector<Dtype> others;
      for (int d = 0; d < kDtypeCount; ++d) {
        const auto dtype = static_cast<Dtype>(d);
        if (dtype != t.dtype && tensor_bytes(dtype, t.shape)) others.push_back(dtype);
      }
      t.dtype = others[pick(others.size())];
      what += " to " + std::string(dtype_name(t.dtype));
    } else if (mutation == "reshape") {
      const std::vector<std::uint64_t> shape = t.shape;
      switch (pick(4)) {
        case 0:
          t.shape.push_back(1);
          break;
        case 1:
          if (t.shape.size() == 2 && t.shape[0] != t.shape[1]) {
            std::swap(t.shape[0], t.shape[1]);
            break;
          }
          [[fallthrough]];
        case 2:
          if (t.shape.empty()) {
            t.shape = {1};
          } else {
            t.shape[pick(t.shape.size())] *= 2;
          }
          break;
        default:
          if (t.shape.empty()) {
            t.shape = {2};
          } else {
            ++t.shape.back();
            if (!tensor_bytes(t.dtype, t.shape)) ++t.shape.back();
          }
      }
      if (t.shape == shape) continue;
      what += " to " + shape_text(t.shape);
    } else {
      Checkpoint::Listed copy = t;
      if (pick(2) == 0) copy.file = "another.safetensors";
      tensors.push_back(copy);
    }
    const CheckReport after = check_list(tensors, sound.config);
    EXPECT_TRUE(names(after, told_before, expected)) << what << "\n"
                                                     << [&] {
                                                          std::string all;
                                                          for (const Finding& f : after.findings)
                                                            all += std::string(f.kind().code) + " " + f.message + "\n";
                                                          return all;
                                                        }();
    if (mutation == "remove" && after.plan != nullptr) {
      // Only optional parameters may be missing from a complete plan.
      const bool optional = original.ends_with("input_global_scale") || original.ends_with("input_scale") ||
                            original.starts_with("mtp.") || original.find(".mtp.") != std::string::npos;
      EXPECT_TRUE(optional) << what;
    }
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Mutation,
                         ::testing::Values(Subject{"Official", "tiny", Family::kOfficial, false},
                                           Subject{"OfficialPro", "pro-tiny", Family::kOfficial, true},
                                           Subject{"Bf16", "tiny", Family::kBf16, true},
                                           Subject{"Bf16Pro", "pro-tiny", Family::kBf16, false},
                                           Subject{"W4A16", "tiny", Family::kW4A16, false},
                                           Subject{"W4A16Pro", "pro-tiny", Family::kW4A16, true},
                                           Subject{"Nvfp4", "tiny", Family::kNvfp4, true},
                                           Subject{"Modelopt", "tiny", Family::kModelopt, false},
                                           Subject{"Fp8", "tiny", Family::kFp8, true},
                                           Subject{"HuggingFace", "tiny", Family::kHuggingFace, false},
                                           Subject{"Dspark", "tiny", Family::kDspark, false}),
                         [](const auto& subject) { return subject.param.name; });

}  // namespace
}  // namespace outrider
