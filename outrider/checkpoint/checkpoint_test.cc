#include "outrider/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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

TEST(IndexFile, ReadsLargeFiles) {
  TempDir dir;
  std::string text = "{\"metadata\":{\"total_size\":12345678901},\"weight_map\":{";
  for (int i = 0; i < 20'000; ++i) {
    text +=
        (i == 0 ? "\"layers." : ",\"layers.") + std::to_string(i) + "\":\"model-" + std::to_string(i / 1'000) + "\"";
  }
  text += "}" + std::string(300'000, '\n') + "}";
  write_file(dir / "model.safetensors.index.json", text);
  const IndexFile index = read_index(dir / "model.safetensors.index.json");
  EXPECT_EQ(index.total_size, 12'345'678'901U);
  ASSERT_EQ(index.weight_map.size(), 20'000U);
  for (std::size_t i = 0; i < 20'000; ++i) {
    ASSERT_EQ(index.weight_map[i].tensor, "layers." + std::to_string(i));
    ASSERT_EQ(index.shards[index.weight_map[i].shard], "model-" + std::to_string(i / 1'000));
  }
  EXPECT_TRUE(index.repeated_keys().empty());
  write_file(dir / "model.safetensors.index.json", text + "x");
  EXPECT_THROW(read_index(dir / "model.safetensors.index.json"), Error);
}

TEST(IndexFile, RefusesWhatIsNoIndex) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":""}})",
        R"({"weight_map":{"a":"x\u0000y"}})", R"({"weight_map":{},"weight_map":{}})", R"({"weight_map":{}} x)",
        "{\"weight_map\":{\"\xff\":\"x\"}}"}) {
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

TEST(IndexFile, TakesPathsBelowTheDirectoryAndKnowsOthers) {
  const IndexFile index = parse_index(
      R"({"weight_map":{"a":"./x","b":"x","c":"w/./x","d":"../x","e":"/etc/x","f":"w/","g":".","h":"w/../../x"}})",
      "i");
  EXPECT_EQ(index.shards, (std::vector<std::string>{"x", "w/x", "../x", "/etc/x", "w/", "."}));
  EXPECT_EQ(index.weight_map[1].shard, 0U);
  EXPECT_TRUE(is_inside("x"));
  EXPECT_TRUE(is_inside("w/x"));
  for (const char* outside : {"", ".", "..", "../x", "/etc/x", "w/", "w/../../x"}) EXPECT_FALSE(is_inside(outside));
}

TEST(Checkpoint, ReadsWhatAnIndexNamesBelowTheDirectoryAndNothingOutside) {
  TempDir dir;
  std::filesystem::create_directories(dir / "in" / "w");
  write_shard(dir / "in" / "w" / "a.safetensors", {"x"});
  write_shard(dir / "in" / "b.safetensors", {"y"});
  write_shard(dir / "outside.safetensors", {"z"});
  write_file(dir / "in" / "model.safetensors.index.json",
             R"({"weight_map":{"x":"w/a.safetensors","y":"./b.safetensors","z":"../outside.safetensors"}})");
  const Checkpoint c = Checkpoint::open(dir / "in");
  EXPECT_EQ(c.tensors().size(), 2U);
  EXPECT_TRUE(c.disagreements().empty());
  ASSERT_EQ(c.files().size(), 3U);
  EXPECT_FALSE(c.files()[2].present);
  EXPECT_THAT(c.files()[2].problem, HasSubstr("outside"));
  ASSERT_EQ(c.absent().size(), 1U);
  EXPECT_EQ(c.absent()[0].tensor, "z");
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

// Files that an index names are looked for under other names, by the tensors.
TEST(Checkpoint, TakesFilesInPlaceOfThoseThatAreNotThere) {
  TempDir dir;
  const auto used = [&](const std::string& index) {
    write_file(dir / "model.safetensors.index.json", index);
    const Checkpoint c = Checkpoint::open(dir.path());
    std::string out;
    for (const ShardFile& file : c.files()) {
      if (file.present && file.used) out += file.name.substr(0, 1);
    }
    EXPECT_TRUE(c.disagreements().empty() || c.disagreements()[0].kind == IndexDisagreement::Kind::kNotInIndex);
    return fmt::format("{} {} {}", out, c.absent().size(), c.disagreements().size());
  };
  write_shard(dir / "a.safetensors", {"x", "y"});
  write_shard(dir / "b.safetensors", {"z"});
  // None of its files is there: its tensors are, or some of them, or it is another artifact's index.
  EXPECT_EQ(used(R"({"weight_map":{"x":"1","y":"1","z":"2"}})"), "ab 0 0");
  EXPECT_EQ(used(R"({"weight_map":{"x":"1","y":"1","w":"2"}})"), "ab 1 1");
  EXPECT_EQ(used(R"({"weight_map":{"v":"1","w":"2"}})"), "ab 2 3");
  EXPECT_EQ(used(R"({"weight_map":{}})"), "ab 0 3");
  // One is renamed; one that repeats what is there stays a stray, as does one of which the index lists nothing.
  EXPECT_EQ(used(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"2"}})"), "ab 0 0");
  EXPECT_EQ(used(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors"}})"), "a 0 0");
  EXPECT_EQ(used(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","w":"2"}})"), "a 1 0");
  write_shard(dir / "c.safetensors", {"z"});
  EXPECT_EQ(used(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"2"}})"), "ab 0 0");
  write_shard(dir / "b.safetensors", {"x", "z"});
  EXPECT_EQ(used(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"2"}})"), "ac 0 0");
}

TEST(Checkpoint, ALinkThatLeadsNowhereIsNoFile) {
  TempDir dir;
  const std::filesystem::path entry = dir / "models--o--n";
  std::filesystem::create_directories(entry / "snapshots" / "abc");
  std::filesystem::create_directories(entry / "blobs");
  write_shard(entry / "snapshots" / "abc" / "a.safetensors", {"x"});
  std::filesystem::create_symlink("../../blobs/1234", entry / "snapshots" / "abc" / "b.safetensors");
  write_file(entry / "blobs" / "1234.incomplete", "");
  for (const std::string index : {"", R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})"}) {
    if (!index.empty()) write_file(entry / "snapshots" / "abc" / "model.safetensors.index.json", index);
    const Checkpoint c = Checkpoint::open(entry);
    EXPECT_EQ(c.root(), entry / "snapshots" / "abc");
    ASSERT_EQ(c.files().size(), 2U);
    EXPECT_FALSE(c.files()[1].present);
    EXPECT_FALSE(c.files()[1].fault);
    EXPECT_THAT(c.files()[1].problem, HasSubstr("../../blobs/1234, which is missing; 1234.incomplete is beside it"));
  }
  std::filesystem::remove(entry / "snapshots" / "abc" / "model.safetensors.index.json");
  std::filesystem::create_symlink("nowhere", entry / "snapshots" / "abc" / "model.safetensors.index.json");
  EXPECT_THAT(message_of(entry), HasSubstr("is missing: it is a link to nowhere"));
}

TEST(Checkpoint, RefusesAHeaderThatNamesATensorTwice) {
  TempDir dir;
  write_shard(dir / "a.safetensors", {"x", "y"});
  const auto write_twice = [&](const std::string& second_offsets) {
    const std::string header = R"({"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("y":{"dtype":"U8","shape":[1],"data_offsets":)" +
                               second_offsets + "}}";
    std::string file(8, '\0');
    file[0] = static_cast<char>(header.size());
    write_file(dir / "b.safetensors", file + header + "12");
  };
  // Beside a file that has the name too, and where its offsets are at fault as well.
  for (const std::string offsets : {"[1,2]", "[0,1]", "[2,3]"}) {
    write_twice(offsets);
    for (const unsigned threads : {1U, 2U}) {
      ThreadPool pool(threads);
      const Checkpoint c = Checkpoint::open(dir.path(), pool);
      ASSERT_EQ(c.files().size(), 2U);
      EXPECT_FALSE(c.files()[0].fault) << offsets;
      EXPECT_EQ(c.files()[1].fault, HeaderFault::kDuplicateKey) << offsets;
      EXPECT_THAT(c.files()[1].problem, HasSubstr("y occurs twice in the header")) << offsets;
      EXPECT_EQ(c.tensors().size(), 2U);
      EXPECT_TRUE(c.duplicates().empty());
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
    ThreadPool pool(threads);
    const Checkpoint c = Checkpoint::open(dir.path(), pool);
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
  EXPECT_THAT(message_of(dir.path()), HasSubstr("it has no .safetensors file"));
  write_file(dir / "model.safetensors.index.json", "<!doctype html>");
  EXPECT_THAT(message_of(dir.path()), HasSubstr("web page"));
}

}  // namespace
}  // namespace outrider
