#include "outrider/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/checkpoint/index_file.h"
#include "outrider/checkpoint/safetensors_writer.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::write_file;

void write_shard(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<TensorToWrite> tensors;
  for (const std::string& name : names) tensors.push_back({name, Dtype::kU8, {8}});
  SafetensorsWriter writer(path, tensors);
  writer.append_zeros(8 * names.size());
  writer.finish();
}

std::string message_of(const std::filesystem::path& path) {
  try {
    Checkpoint::open(path);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(IndexFile, ReadsMapAndSize) {
  const IndexFile index =
      parse_index(R"({"metadata":{"total_size":24},"weight_map":{"a":"x","b":"y","c":"x","\u0061":"x"}})", "i");
  EXPECT_EQ(index.total_size, 24U);
  ASSERT_EQ(index.shards, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(index.weight_map.size(), 4U);
  ASSERT_EQ(index.repeated_keys().size(), 1U);
  EXPECT_EQ(index.repeated_keys()[0], "a");
  EXPECT_FALSE(parse_index(R"({"metadata":{"total_size":"24"},"weight_map":{}})", "i").total_size);
}

TEST(IndexFile, RefusesWhatIsNoIndex) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":""}})",
        R"({"weight_map":{"a":"../x"}})", R"({"weight_map":{"a":"/etc/passwd"}})", R"({"weight_map":{"a":".."}})",
        R"({"weight_map":{"a":"x\u0000y"}})", R"({"weight_map":{"a":"b\\c"}})", R"({"weight_map":{},"weight_map":{}})",
        R"({"weight_map":{}} x)", "{\"weight_map\":{\"\xff\":\"x\"}}"}) {
    EXPECT_THROW(parse_index(text, "i"), Error) << text;
  }
  EXPECT_THROW(parse_index(std::string(1'000'000, '['), "i"), Error);
  try {
    parse_index("<html>", "i");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("web page"));
  }
}

TEST(Checkpoint, OpensAFileADirectoryAndAnIndex) {
  TempDir dir;
  write_shard(dir / "a.safetensors", {"x", "y"});
  write_shard(dir / "b.safetensors", {"z"});
  write_file(dir / "config.json", "{}");
  EXPECT_EQ(Checkpoint::open(dir / "a.safetensors").tensors().size(), 2U);
  EXPECT_EQ(Checkpoint::open(dir / "a.safetensors").config_json(), "{}");
  const Checkpoint without = Checkpoint::open(dir.path());
  EXPECT_FALSE(without.has_index());
  EXPECT_EQ(without.tensors().size(), 3U);
  write_file(dir / "model.safetensors.index.json",
             R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"b.safetensors"}})");
  for (const auto& path : {dir.path(), dir / "model.safetensors.index.json"}) {
    const Checkpoint c = Checkpoint::open(path);
    EXPECT_TRUE(c.has_index());
    EXPECT_EQ(c.tensors().size(), 3U);
    EXPECT_TRUE(c.disagreements().empty());
    ASSERT_NE(c.find("z"), nullptr);
    EXPECT_EQ(c.files()[c.find("z")->file].name, "b.safetensors");
    EXPECT_EQ(c.find("w"), nullptr);
    EXPECT_EQ(c.tensor_bytes(), 24U);
  }
}

TEST(Checkpoint, RecordsWhereIndexAndHeadersDisagree) {
  TempDir dir;
  write_shard(dir / "a.safetensors", {"x", "y", "extra"});
  write_shard(dir / "b.safetensors", {"z", "y"});
  write_shard(dir / "stray.safetensors", {"z", "s"});
  write_file(
      dir / "model.safetensors.index.json",
      R"({"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors","gone":"a.safetensors","far":"c.safetensors"}})");
  const Checkpoint c = Checkpoint::open(dir.path());
  using Kind = IndexDisagreement::Kind;
  std::vector<std::pair<Kind, std::string>> found;
  for (const auto& d : c.disagreements()) found.emplace_back(d.kind, d.tensor);
  EXPECT_THAT(found,
              ::testing::UnorderedElementsAre(std::pair(Kind::kNowhere, "gone"), std::pair(Kind::kOtherShard, "x"),
                                              std::pair(Kind::kNotInIndex, "extra")));
  ASSERT_EQ(c.duplicates().size(), 1U);
  EXPECT_EQ(c.duplicates()[0].tensor, "y");
  for (const ShardFile& f : c.files()) {
    EXPECT_EQ(f.in_index, f.name != "stray.safetensors");
    EXPECT_EQ(f.present, f.name != "c.safetensors");
    if (f.name == "c.safetensors") {
      EXPECT_EQ(f.tensor_count, 1U);
    }
  }
}

TEST(Checkpoint, KeepsReadingPastAFaultyFile) {
  TempDir dir;
  write_shard(dir / "a.safetensors", {"x"});
  write_shard(dir / "b.safetensors", {"y", "z"});
  write_file(dir / "c.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  std::filesystem::resize_file(dir / "b.safetensors", std::filesystem::file_size(dir / "b.safetensors") - 3);
  for (const unsigned threads : {1U, 4U}) {
    const Checkpoint c = Checkpoint::open(dir.path(), threads);
    ASSERT_EQ(c.files().size(), 3U);
    EXPECT_FALSE(c.files()[0].fault);
    EXPECT_EQ(c.files()[1].fault, HeaderFault::kTruncated);
    EXPECT_EQ(c.files()[2].fault, HeaderFault::kLfsPointer);
    EXPECT_EQ(c.tensors().size(), 3U);
  }
}

TEST(Checkpoint, AnIndexWithoutFilesGivesNames) {
  TempDir dir;
  write_file(dir / "model.safetensors.index.json", R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  const Checkpoint c = Checkpoint::open(dir.path());
  EXPECT_TRUE(c.names_only());
  EXPECT_EQ(c.tensors().size(), 2U);
  ASSERT_NE(c.find("y"), nullptr);
}

TEST(Checkpoint, SaysWhyThereIsNothingToOpen) {
  TempDir dir;
  EXPECT_THAT(message_of(dir / "absent"), HasSubstr("no such file"));
  EXPECT_THAT(message_of(dir.path()), HasSubstr("holds no .safetensors file"));
  write_file(dir / "model.safetensors.index.json", "<!doctype html>");
  EXPECT_THAT(message_of(dir.path()), HasSubstr("web page"));
}

}  // namespace
}  // namespace outrider
