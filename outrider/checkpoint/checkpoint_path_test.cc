#include "outrider/checkpoint/checkpoint_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/testing/error_message.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::AllOf;
using testing::error_message;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::write_file;

std::string number(std::uint64_t value, std::size_t bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
  return out;
}
std::string text(const std::string& value) {
  return number(value.size(), 8) + value;
}
std::string pair_of(const std::string& key, std::uint32_t type, const std::string& value) {
  return text(key) + number(type, 4) + value;
}

// With an array of texts and one of numbers before what is looked for.
std::string gguf() {
  const std::string words = number(8, 4) + number(3, 8) + text("a") + text("") + text("ccc");
  const std::string scores = number(6, 4) + number(5, 8) + std::string(20, 'x');
  return "GGUF" + number(3, 4) + number(0, 8) + number(5, 8) + pair_of("tokenizer.ggml.tokens", 9, words) +
         pair_of("tokenizer.ggml.scores", 9, scores) + pair_of("general.architecture", 8, text("deepseek4")) +
         pair_of("general.file_type", 4, number(15, 4)) + pair_of("split.count", 2, number(7, 2));
}

TEST(GgufHeader, ReadsWhatTheMetadataSays) {
  TempDir dir;
  write_file(dir / "m.gguf", gguf());
  const GgufHeader header = read_gguf_header(dir / "m.gguf");
  EXPECT_EQ(header.problem, "");
  EXPECT_EQ(header.version, 3U);
  EXPECT_EQ(header.tensor_count, 0U);
  EXPECT_EQ(header.architecture, "deepseek4");
  EXPECT_EQ(gguf_file_type(header.file_type.value()), "Q4_K_M");
  EXPECT_EQ(gguf_file_type(999), "file type 999");
  EXPECT_EQ(header.split_count, 7U);
}

TEST(GgufHeader, HostileBytes) {
  TempDir dir;
  const std::string whole = gguf();
  const auto read = [&](const std::string& bytes) {
    write_file(dir / "m.gguf", bytes);
    return read_gguf_header(dir / "m.gguf");
  };
  for (std::size_t cut = 4; cut < whole.size(); ++cut) EXPECT_NE(read(whole.substr(0, cut)).problem, "") << cut;
  EXPECT_ANY_THROW(read("GGU"));
  const std::string huge = number(~std::uint64_t{0}, 8);
  const std::string begin = "GGUF" + number(3, 4) + huge + huge;
  EXPECT_THAT(read(begin + huge).problem, HasSubstr("a key of"));
  EXPECT_THAT(read(begin + pair_of("k", 99, "")).problem, HasSubstr("type 99"));
  EXPECT_THAT(read(begin + pair_of("k", 9, number(4, 4) + huge)).problem, HasSubstr("array of"));
  EXPECT_THAT(read(begin + pair_of("k", 9, number(8, 4) + huge)).problem, HasSubstr("ends within"));
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += number(9, 4) + number(1, 8);
  EXPECT_THAT(read(begin + pair_of("k", 9, nested)).problem, HasSubstr("arrays within arrays"));
  EXPECT_THAT(read(begin + pair_of("general.architecture", 8, huge)).problem, HasSubstr("an architecture of"));
  std::mt19937_64 random(1);
  for (int i = 0; i < 2'000; ++i) {
    std::string changed = whole;
    for (int n = 0; n < 3; ++n) changed[4 + random() % (changed.size() - 4)] = static_cast<char>(random());
    read(changed);
  }
}

TEST(CheckpointPath, NamesWhatIsNoCheckpoint) {
  TempDir dir;
  const auto says = [](const std::filesystem::path& path, const std::vector<std::string>& words) {
    const std::string message = error_message([&] { checkpoint_path(path); });
    for (const std::string& word : words) EXPECT_THAT(message, HasSubstr(word)) << path;
  };
  const auto with = [&](const std::string& file, const std::vector<std::string>& words) {
    const std::filesystem::path in = dir / ("d" + std::to_string(std::hash<std::string>()(file)));
    std::filesystem::create_directories((in / file).parent_path());
    write_file(in / file, file.ends_with("gguf") ? gguf() : "{}");
    write_file(in / "config.json", "{}");
    says(in, words);
  };
  with("m-Q4_K_M.gguf", {"m-Q4_K_M.gguf, a GGUF file of architecture deepseek4, Q4_K_M, one of 7 parts", "llama.cpp"});
  with("UD/m.gguf", {"in UD: m.gguf, a GGUF file"});
  with("pytorch_model-00001-of-00001.bin", {"a PyTorch .bin file", "Outrider reads safetensors"});
  with("consolidated.00.pth", {"a PyTorch .pth file"});
  with("tf_model.h5", {"TensorFlow"});
  with("model.onnx", {"ONNX"});
  with("model.tar.gz", {"an archive", "Unpack"});
  with("training_args.bin", {"has a config.json but has no .safetensors file", "hf download"});
  with("sub/model.safetensors", {"some in the subdirectory sub", "config.json, which is here"});
  with(".cache/huggingface/download/x.incomplete", {"1 unfinished download", "resumes the download"});

  std::filesystem::create_directories(dir / "adapter");
  write_file(dir / "adapter" / "adapter_model.safetensors", "");
  write_file(dir / "adapter" / "adapter_config.json", R"({"peft_type":"LORA","base_model_name_or_path":"a/b"})");
  says(dir / "adapter", {"is an adapter (LORA) of a/b"});
  says(dir / "adapter" / "adapter_model.safetensors", {"is an adapter"});
  std::filesystem::create_directories(dir / "parent" / "transformer");
  write_file(dir / "parent" / "model_index.json", "{}");
  write_file(dir / "parent" / "transformer" / "config.json", "{}");
  write_file(dir / "parent" / "transformer" / "model.safetensors", "");
  says(dir / "parent", {"the model is in the subdirectory transformer"});
  std::filesystem::create_directories(dir / "empty");
  says(dir / "empty", {"is empty"});
  write_file(dir / "tokenizer.json", "{}");
  says(dir / "tokenizer.json", {"is not a checkpoint's index", "Give the directory"});
  write_file(dir / "named-otherwise", gguf());
  says(dir / "named-otherwise", {"is a GGUF file"});

  says("deepseek-ai/DeepSeek-V4-Flash",
       {"id of a repository", "hf download deepseek-ai/DeepSeek-V4-Flash --local-dir"});
  says("hf://a/b", {"hf download a/b"});
  says("https://huggingface.co/a/b/tree/main", {"hf download a/b --local-dir b"});
  says("https://example.org/x.safetensors", {"is a URL"});
  says((dir / "a" / "b").string(), {"no such file"});
}

TEST(CheckpointPath, FindsTheSnapshotOfTheHubsCache) {
  TempDir dir;
  const std::filesystem::path entry = dir / "hub" / "models--o--n";
  const auto snapshot = [&](const std::string& commit) {
    std::filesystem::create_directories(entry / "snapshots" / commit);
    write_file(entry / "snapshots" / commit / "model.safetensors", "");
  };
  std::filesystem::create_directories(entry / "refs");
  std::filesystem::create_directories(entry / "snapshots");
  EXPECT_THAT(error_message([&] { checkpoint_path(entry); }), HasSubstr("without a snapshot"));
  snapshot("abc");
  for (const char* below : {"", "snapshots", "refs"}) {
    EXPECT_EQ(checkpoint_path(entry / below), entry / "snapshots" / "abc") << below;
  }
  snapshot("def");
  EXPECT_THAT(error_message([&] { checkpoint_path(entry); }),
              AllOf(HasSubstr("does not select one of its 2 snapshots"), HasSubstr("abc"), HasSubstr("def")));
  for (const std::string ref : {"def", "def\n"}) {
    write_file(entry / "refs" / "main", ref);
    EXPECT_EQ(checkpoint_path(entry), entry / "snapshots" / "def");
  }
  for (const std::string& ref : {std::string("../../.."), std::string("gone"), std::string(".."), std::string()}) {
    write_file(entry / "refs" / "main", ref);
    EXPECT_THAT(error_message([&] { checkpoint_path(entry); }), HasSubstr("does not select one of its 2 snapshots"))
        << ref;
  }
  EXPECT_THAT(error_message([&] { checkpoint_path(dir / "hub"); }),
              AllOf(HasSubstr("the cache of the Hugging Face hub, with 1 model"), HasSubstr("models--o--n")));
  EXPECT_THAT(error_message([&] { checkpoint_path(dir.path()); }), HasSubstr("models--o--n"));
}

}  // namespace
}  // namespace outrider
