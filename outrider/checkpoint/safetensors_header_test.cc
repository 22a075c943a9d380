#include "outrider/checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "outrider/checkpoint/safetensors_writer.h"
#include "outrider/testing/shared_data.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::write_file;

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + rest;
}

std::string file_of(const std::string& json, std::size_t data_bytes = 0) {
  return with_length(json.size(), json) + std::string(data_bytes, '\0');
}

HeaderFault fault_of(const std::string& content, std::string* message = nullptr) {
  TempDir dir;
  write_file(dir / "x.safetensors", content);
  try {
    read_safetensors_header_strict(dir / "x.safetensors");
  } catch (const HeaderError& e) {
    if (message != nullptr) *message = e.what();
    EXPECT_THAT(e.what(), HasSubstr("x.safetensors"));
    return e.fault();
  }
  ADD_FAILURE() << "was accepted";
  return HeaderFault::kUnreadable;
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(SafetensorsHeader, ConformsToTheFormatsVectors) {
  OUTRIDER_NEEDS_SHARED_DATA();
  std::ifstream in(testing::shared_data() / "safetensors" / "conformance_vectors.json");
  const nlohmann::json vectors = nlohmann::json::parse(in);
  int count = 0;
  for (const auto& vector : vectors) {
    const std::string hex = vector["hex"];
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    TempDir dir;
    write_file(dir / "v.safetensors", bytes);
    const std::string expect = vector["expect"];
    const std::string id = vector["id"];
    if (expect.starts_with("ok")) {
      EXPECT_NO_THROW(read_safetensors_header_strict(dir / "v.safetensors")) << id;
    } else {
      EXPECT_THROW(read_safetensors_header_strict(dir / "v.safetensors"), HeaderError) << id;
    }
    ++count;
  }
  EXPECT_GE(count, 20);
}

TEST(SafetensorsHeader, ReadsTheFormatsSamples) {
  OUTRIDER_NEEDS_SHARED_DATA();
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(testing::shared_data() / "safetensors")) {
    if (entry.path().extension() != ".safetensors") continue;
    EXPECT_FALSE(read_safetensors_header(entry.path()).tensors.empty()) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 9);
}

TEST(SafetensorsHeader, RefusesWhatIsNoSafetensorsFile) {
  std::string message;
  EXPECT_EQ(fault_of("", &message), HeaderFault::kEmpty);
  EXPECT_EQ(fault_of("1234567"), HeaderFault::kEmpty);
  EXPECT_EQ(fault_of("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", &message),
            HeaderFault::kLfsPointer);
  EXPECT_THAT(message, HasSubstr("git lfs pull"));
  EXPECT_EQ(fault_of("\n <!DOCTYPE HTML><html><body>Sign in</body></html>", &message), HeaderFault::kHtml);
  EXPECT_THAT(message, HasSubstr("web page"));
  EXPECT_EQ(fault_of(with_length(std::uint64_t{1} << 63, "{}")), HeaderFault::kHeaderTooLarge);
  EXPECT_EQ(fault_of(with_length(100'000'001, "{}")), HeaderFault::kHeaderTooLarge);
  EXPECT_EQ(fault_of(with_length(100'000'000, "{}")), HeaderFault::kHeaderPastEnd);
  EXPECT_EQ(fault_of(with_length(~std::uint64_t{0}, "{}")), HeaderFault::kHeaderTooLarge);
  EXPECT_EQ(fault_of(file_of("{\"\xff\":1}")), HeaderFault::kNotUtf8);
  EXPECT_EQ(fault_of(file_of("{")), HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of("")), HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of("[]")), HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of("{} {}")), HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of(std::string(1'000'000, '['))), HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of("{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}")),
            HeaderFault::kNotJson);
}

TEST(SafetensorsHeader, RefusesFaultyEntries) {
  std::string message;
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "F3", "[1]", "[0,1]") + "}", 1), &message), HeaderFault::kUnknownDtype);
  EXPECT_THAT(message, HasSubstr("F3"));
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[-1]", "[0,1]") + "}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[1.0]", "[0,1]") + "}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[1]", "[0]") + "}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[1]", "[0,1,1]") + "}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "1", "[0,1]") + "}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{\"a\":1}")), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1)), HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1)),
            HeaderFault::kBadEntry);
  EXPECT_EQ(fault_of(file_of("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1)),
            HeaderFault::kDuplicateKey);
  EXPECT_EQ(fault_of(file_of("{\"__metadata__\":{\"a\":1}}")), HeaderFault::kBadEntry);
  EXPECT_EQ(
      fault_of(file_of("{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("a", "U8", "[1]", "[1,2]") + "}", 2)),
      HeaderFault::kDuplicateKey);
  // The same key, once spelt with an escape.
  EXPECT_EQ(fault_of(file_of(
                "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("\\u0061", "U8", "[1]", "[1,2]") + "}", 2)),
            HeaderFault::kDuplicateKey);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[4294967296,4294967296]", "[0,1]") + "}", 1)),
            HeaderFault::kOverflow);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[18446744073709551616]", "[0,1]") + "}", 1)),
            HeaderFault::kNotJson);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "F32", "[2]", "[0,4]") + "}", 4), &message), HeaderFault::kMisfit);
  EXPECT_THAT(message, HasSubstr("[2]"));
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "F4", "[3]", "[0,2]") + "}", 2)), HeaderFault::kMisfit);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[4]", "[4,0]") + "}", 4)), HeaderFault::kOffsets);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[4]", "[4,8]") + "}", 8)), HeaderFault::kOffsets);
  EXPECT_EQ(
      fault_of(file_of("{" + tensor("a", "U8", "[4]", "[0,4]") + "," + tensor("b", "U8", "[4]", "[2,6]") + "}", 6)),
      HeaderFault::kOffsets);
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[4]", "[0,4]") + "}", 3), &message), HeaderFault::kTruncated);
  EXPECT_THAT(message, HasSubstr("1 of"));
  EXPECT_EQ(fault_of(file_of("{" + tensor("a", "U8", "[4]", "[0,4]") + "}", 5)), HeaderFault::kTrailing);
}

TEST(SafetensorsHeader, AcceptsAnyOrderOfFieldsAndTensorsAndWhitespace) {
  TempDir dir;
  write_file(dir / "a.safetensors",
             file_of(" { \"b\" : { \"data_offsets\" : [ 4 , 8 ] , \"shape\" : [ 4 ] , \"dtype\" : \"U8\" } "
                     ",\n\t\"__metadata__\" : { \"k\" : \"v\" "
                     "}, \"\\u0061\\n\" : {\"shape\":[],\"dtype\":\"F32\",\"data_offsets\":[0,4]}, "
                     "\"z\":{\"dtype\":\"F32\",\"shape\":[2,0],"
                     "\"data_offsets\":[8,8]} } ",
                     8));
  const SafetensorsHeader h = read_safetensors_header_strict(dir / "a.safetensors");
  ASSERT_EQ(h.tensors.size(), 3U);
  EXPECT_EQ(h.tensors[0].name, "a\n");
  EXPECT_TRUE(h.tensors[0].shape.empty());
  EXPECT_EQ(h.tensors[1].name, "b");
  EXPECT_EQ(h.tensors[2].name, "z");
  EXPECT_EQ(h.metadata.at("k"), "v");
  EXPECT_EQ(h.data_bytes, 8U);
}

TEST(SafetensorsHeader, RefusesWhatIsNoRegularFile) {
  TempDir dir;
  std::filesystem::create_directory(dir / "d.safetensors");
  ASSERT_EQ(mkfifo((dir / "f.safetensors").c_str(), 0600), 0);
  for (const char* name : {"d.safetensors", "f.safetensors", "absent.safetensors"}) {
    try {
      read_safetensors_header(dir / name);
      ADD_FAILURE() << name;
    } catch (const HeaderError& e) {
      EXPECT_EQ(e.fault(), HeaderFault::kUnreadable) << name;
    }
  }
}

TEST(SafetensorsHeader, MessagesAreSafeToPrint) {
  std::string message;
  fault_of(file_of("{" + tensor("\\u001b[31m\\u0007", "F3", "[1]", "[0,1]") + "}", 1), &message);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  fault_of(file_of("{" + tensor(std::string(100'000, 'x'), "F3", "[1]", "[0,1]") + "}", 1), &message);
  EXPECT_LT(message.size(), 1000U);
}

TEST(SafetensorsWriter, WritesEveryDtypeAlignedAndReadable) {
  TempDir dir;
  std::vector<TensorToWrite> tensors;
  for (int i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    tensors.push_back({"t" + std::to_string(i), dtype, {4, 2}});
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype);
  }
  SafetensorsWriter writer(dir / "w.safetensors", tensors, {{"format", "pt"}});
  for (const TensorToWrite& t : writer.tensors()) {
    std::vector<std::byte> bytes(*tensor_bytes(t.dtype, t.shape), std::byte{7});
    writer.append(bytes);
  }
  writer.finish();
  const SafetensorsHeader h = read_safetensors_header_strict(dir / "w.safetensors");
  EXPECT_EQ(h.tensors.size(), static_cast<std::size_t>(kDtypeCount));
  EXPECT_EQ(h.data_start % 8, 0U);
  EXPECT_EQ(h.metadata.at("format"), "pt");
  for (std::size_t i = 0; i < h.tensors.size(); ++i) {
    const unsigned bytes = std::max(1U, dtype_bits(h.tensors[i].dtype) / 8);
    EXPECT_EQ(h.tensors[i].begin % bytes, 0U) << h.tensors[i].name;
  }
}

TEST(SafetensorsWriter, RefusesMisuse) {
  TempDir dir;
  EXPECT_THROW(SafetensorsWriter(dir / "a", {{"x", Dtype::kU8, {1}}, {"x", Dtype::kU8, {1}}}), Error);
  EXPECT_THROW(SafetensorsWriter(dir / "a", {{"x", Dtype::kF4, {1}}}), Error);
  EXPECT_THROW(SafetensorsWriter(dir / "a", {{"x", Dtype::kU8, {1ULL << 40, 1ULL << 40}}}), Error);
  EXPECT_THROW(SafetensorsWriter(dir / "no" / "a", {{"x", Dtype::kU8, {1}}}), Error);
  EXPECT_THROW(SafetensorsWriter(dir / "a", {{"\xff", Dtype::kU8, {1}}}), Error);
  SafetensorsWriter writer(dir / "a", {{"x", Dtype::kU8, {4}}});
  EXPECT_THROW(writer.append_zeros(5), Error);
  EXPECT_THROW(writer.finish(), Error);
  writer.append_zeros(4);
  writer.finish();
  EXPECT_NO_THROW(read_safetensors_header_strict(dir / "a"));
}

}  // namespace
}  // namespace outrider
