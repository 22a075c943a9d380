#include "outrider/checkpoint/foreign_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <system_error>

#include "outrider/checkpoint/gguf_header.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGgufAdvice =
    "Run it with llama.cpp, or download its source release, which has .safetensors files.";
constexpr std::string_view kSaveAgain =
    "Download the model's .safetensors files, or load it with the library that wrote it and save it as safetensors.";
constexpr std::string_view kUnpack = "Unpack it and give the directory with the .safetensors files.";

struct Ending {
  std::string_view ending;
  std::string_view what;
  std::string_view plural;
  std::string_view what_now;
};
constexpr Ending kEndings[] = {
    {".bin.index.json", "the index of PyTorch .bin files", "PyTorch .bin files", kSaveAgain},
    {".bin", "a PyTorch .bin file", "PyTorch .bin files", kSaveAgain},
    {".pt", "a PyTorch .pt file", "PyTorch .pt files", kSaveAgain},
    {".pth", "a PyTorch .pth file", "PyTorch .pth files", kSaveAgain},
    {".ckpt", "a PyTorch or TensorFlow .ckpt file", "PyTorch or TensorFlow .ckpt files", kSaveAgain},
    {".h5", "a TensorFlow .h5 file", "TensorFlow .h5 files", kSaveAgain},
    {".msgpack", "a Flax .msgpack file", "Flax .msgpack files", kSaveAgain},
    {".onnx", "an ONNX model", "ONNX models", kSaveAgain},
    {".onnx_data", "an ONNX model's data", "ONNX models", kSaveAgain},
    {".npz", "a NumPy .npz file", "NumPy .npz files", kSaveAgain},
    {".npy", "a NumPy .npy file", "NumPy .npy files", kSaveAgain},
    {".ggml", "a GGML file", "GGML files", kGgufAdvice},
    {".zip", "an archive", "archives", kUnpack},
    {".tar", "an archive", "archives", kUnpack},
    {".tar.gz", "an archive", "archives", kUnpack},
    {".tgz", "an archive", "archives", kUnpack},
    {".tar.zst", "an archive", "archives", kUnpack},
    {".tar.xz", "an archive", "archives", kUnpack},
    {".7z", "an archive", "archives", kUnpack},
};

ForeignFile describe_gguf(const fs::path& file) {
  ForeignFile out{"a GGUF file", "GGUF files", kGgufAdvice};
  try {
    const GgufHeader header = read_gguf_header(file);
    if (!header.architecture.empty())
      out.what += fmt::format(" of architecture {}", printable(header.architecture, 64));
    if (header.file_type) out.what += fmt::format(", {}", gguf_file_type(*header.file_type));
    if (header.split_count > 1) out.what += fmt::format(", one of {} parts", header.split_count);
    if (!header.problem.empty()) out.what += fmt::format(" (damaged: it {})", header.problem);
  } catch (const Error&) {
    // By its name it is one; that is enough to say what it is.
  }
  return out;
}

}  // namespace

std::optional<ForeignFile> recognise_foreign_file(const fs::path& file) {
  std::string name = file.filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (is_gguf_file(file)) return describe_gguf(file);
  const Ending* found = std::ranges::find_if(kEndings, [&](const Ending& e) { return name.ends_with(e.ending); });
  if (found == std::end(kEndings)) return std::nullopt;
  return ForeignFile{std::string(found->what), std::string(found->plural), found->what_now};
}

}  // namespace outrider
