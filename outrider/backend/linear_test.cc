// Compares rows of every storage form with the form's definition (docs/storage-forms.md), element by element.

#include "outrider/backend/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/binding/open_plan.h"
#include "outrider/checkpoint/number_formats.h"
#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using synthetic::Family;
using testing::TempDir;

std::shared_ptr<const Weights> load(const std::filesystem::path& directory) {
  return std::make_shared<const Weights>(open_plan(directory));
}

std::vector<Checkpoint::Listed> write(const std::filesystem::path& directory, Family family,
                                      std::vector<Checkpoint::Listed> added = {}) {
  const std::string config = synthetic::config_json("tiny", family, family == Family::kHuggingFace ? 0 : 1);
  synthetic::SyntheticOptions options;
  options.family = family;
  options.mtp = family != Family::kHuggingFace;
  std::vector<Checkpoint::Listed> tensors = synthetic::tensor_list(read_config(config).config, options);
  tensors.insert(tensors.end(), added.begin(), added.end());
  synthetic::write_checkpoint(directory, tensors, config, false);
  return tensors;
}

// Reads elements of one parameter by its form's definition, one at a time.
class Definition {
 public:
  Definition(const Weights& weights, ParameterId id) : weights_(weights), id_(id) {}

  float operator()(std::uint64_t row, std::uint64_t col) const {
    const std::uint64_t cols = weights_.plan().manifest()[id_].shape.dims[1];
    const Binding& b = weights_.plan().binding(id_);
    const Component codes = b.tensor(Component::kWeightPacked) ? Component::kWeightPacked : Component::kWeight;
    const unsigned nibble = [&]() -> unsigned {
      const std::span<const std::byte> bytes = weights_.bytes(id_, codes);
      const std::uint64_t at = (row * cols + col) / 2;
      if (at >= bytes.size()) return 0;
      return static_cast<unsigned>(bytes[at]) >> (col % 2 * 4) & 15U;
    }();
    switch (b.form) {
      case StorageForm::kPlain:
        return number(codes, row * cols + col);
      case StorageForm::kFp8Block:
        return number(codes, row * cols + col) * number(scale(), row / 128 * ((cols + 127) / 128) + col / 128);
      case StorageForm::kMxfp4:
        return e2m1_to_float(static_cast<std::uint8_t>(nibble)) * number(scale(), row * (cols / 32) + col / 32);
      case StorageForm::kNvfp4:
        return e2m1_to_float(static_cast<std::uint8_t>(nibble)) * number(scale(), row * (cols / 16) + col / 16) /
               number(Component::kWeightGlobalScale, 0);
      case StorageForm::kNvfp4Modelopt:
        return e2m1_to_float(static_cast<std::uint8_t>(nibble)) * number(scale(), row * (cols / 16) + col / 16) *
               number(Component::kWeightScale2, 0);
      case StorageForm::kW4A16:
        break;
    }
    const std::uint64_t groups = cols / b.group_size;
    const std::uint64_t group =
        b.tensor(Component::kWeightGIdx) ? integer(Component::kWeightGIdx, col) : col / b.group_size;
    std::uint32_t zero = 8;
    if (b.tensor(Component::kWeightZeroPoint)) {
      zero = integer(Component::kWeightZeroPoint, row / 8 * groups + group) >> (row % 8 * 4) & 15U;
    }
    return static_cast<float>(static_cast<int>(nibble) - static_cast<int>(zero)) *
           number(scale(), row * groups + group);
  }

 private:
  Component scale() const {
    for (const Component c : {Component::kScale, Component::kWeightScale}) {
      if (weights_.plan().binding(id_).tensor(c)) return c;
    }
    return Component::kWeightScaleInv;
  }

  std::uint32_t integer(Component component, std::uint64_t index) const {
    std::uint32_t value = 0;
    std::memcpy(&value, weights_.bytes(id_, component).data() + index * 4, 4);
    return value;
  }

  float number(Component component, std::uint64_t index) const {
    const std::byte* at = weights_.bytes(id_, component).data();
    const Dtype dtype = weights_.plan().report().tensor(*weights_.plan().binding(id_).tensor(component)).dtype;
    std::uint16_t half = 0;
    if (dtype == Dtype::kF32) {
      float value = 0;
      std::memcpy(&value, at + index * 4, 4);
      return value;
    }
    if (dtype == Dtype::kBF16 || dtype == Dtype::kF16) {
      std::memcpy(&half, at + index * 2, 2);
      return dtype == Dtype::kBF16 ? bf16_to_float(half) : f16_to_float(half);
    }
    const auto byte = static_cast<std::uint8_t>(at[index]);
    return dtype == Dtype::kF8E4M3 ? e4m3_to_float(byte) : e8m0_to_float(byte);
  }

  const Weights& weights_;
  ParameterId id_;
};

void expect_defined_values(const Weights& weights, ParameterId id) {
  const Parameter& parameter = weights.plan().manifest()[id];
  const Linear linear(weights, id);
  ASSERT_EQ(linear.rows(), parameter.shape.dims[0]);
  const Definition definition(weights, id);
  for (const Kernels* kernels : available_kernels()) {
    std::vector<float> row(padded(linear.cols()), -7.0F);
    std::vector<float> scratch;
    for (std::size_t r = 0; r < linear.rows(); r += linear.rows() / 16 + 1) {
      linear.decode(*kernels, r, row.data(), scratch);
      for (std::size_t c = 0; c < linear.cols(); ++c) {
        const float expected = definition(r, c);
        // If there are two scales, they are multiplied in another order.
        ASSERT_NEAR(row[c], expected, std::fabs(expected) * 1e-6F)
            << kernels->name << " " << parameter.name() << " " << r << " " << c;
      }
      for (std::size_t c = linear.cols(); c < row.size(); ++c) ASSERT_EQ(row[c], 0.0F) << "padding";
    }
  }
}

TEST(Linear, EveryStorageFormMatchesItsDefinition) {
  std::set<StorageForm> seen;
  for (const Family family : {Family::kOfficial, Family::kBf16, Family::kW4A16, Family::kNvfp4, Family::kModelopt,
                              Family::kFp8, Family::kHuggingFace}) {
    TempDir dir;
    write(dir.path(), family);
    const auto weights = load(dir.path());
    for (ParameterId id = 0; id < weights->plan().manifest().parameters().size(); ++id) {
      const Parameter& parameter = weights->plan().manifest()[id];
      if (parameter.shape.rank != 2 || parameter.spec().storage == Storage::kInteger || parameter.expert > 1) continue;
      seen.insert(weights->plan().binding(id).form);
      expect_defined_values(*weights, id);
    }
  }
  EXPECT_EQ(seen.size(), 6U);
}

class W4A16Tables : public ::testing::Test {
 protected:
  // Writes an artifact in which parameter id_ has the table `suffix`, filled with `value(i)`.
  void write_with(const std::string& suffix, const std::function<std::uint32_t(std::size_t)>& value) {
    TempDir plain;
    write(plain.path(), Family::kW4A16);
    const auto weights = load(plain.path());
    const ParameterId id = *weights->plan().manifest().find({BlockKind::kLayer, 1}, Slot::kExpertW1, 0);
    const ParameterShape& shape = weights->plan().manifest()[id].shape;
    const std::uint64_t groups = shape.dims[1] / weights->plan().binding(id).group_size;
    const std::string packed =
        weights->plan().report().stored_name(*weights->plan().binding(id).tensor(Component::kWeightPacked));
    const std::string name = packed.substr(0, packed.size() - std::string("weight_packed").size()) + suffix;
    Checkpoint::Listed table{name, Dtype::kI32, {}, ""};
    table.shape = suffix == "weight_g_idx" ? std::vector<std::uint64_t>{shape.dims[1]}
                                           : std::vector<std::uint64_t>{(shape.dims[0] + 7) / 8, groups};
    table.file = weights->plan().checkpoint().files().front().name;
    write(dir_.path(), Family::kW4A16, {table});
    const Checkpoint written = Checkpoint::open(dir_.path());
    const TensorInfo& info = *written.find(name);
    std::fstream file(written.files()[info.file].path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(written.files()[info.file].data_start + info.begin));
    for (std::size_t i = 0; i < info.bytes() / 4; ++i) {
      const std::uint32_t v = value(i);
      file.write(reinterpret_cast<const char*>(&v), 4);
    }
    groups_ = groups;
    id_ = id;
  }

  TempDir dir_;
  std::uint64_t groups_ = 0;
  ParameterId id_ = 0;
};

TEST_F(W4A16Tables, ZeroPoints) {
  write_with("weight_zero_point", [](std::size_t i) { return 0x12345678U + static_cast<std::uint32_t>(i) * 7U; });
  expect_defined_values(*load(dir_.path()), id_);
}

TEST_F(W4A16Tables, GroupsByColumn) {
  write_with("weight_g_idx", [](std::size_t) { return 0U; });
  const std::uint64_t groups = groups_;
  write_with("weight_g_idx", [&](std::size_t i) { return static_cast<std::uint32_t>(i * 5 % groups); });
  expect_defined_values(*load(dir_.path()), id_);
}

TEST_F(W4A16Tables, UnsetGroups) {
  write_with("weight_g_idx", [](std::size_t) { return 0xffffffffU; });
  const auto weights = load(dir_.path());
  const Linear linear(*weights, id_);
  std::vector<float> row(padded(linear.cols()));
  std::vector<float> scratch;
  linear.decode(scalar_kernels(), 0, row.data(), scratch);
  EXPECT_TRUE(std::isfinite(row[0]));
}

TEST_F(W4A16Tables, AGroupOutOfRange) {
  write_with("weight_g_idx", [](std::size_t i) { return i == 3 ? 1000U : 0U; });
  const auto weights = load(dir_.path());
  EXPECT_THROW(Linear(*weights, id_), Error);
}

}  // namespace
}  // namespace outrider
