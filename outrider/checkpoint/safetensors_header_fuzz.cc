#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "outrider/checkpoint/safetensors_header.h"

namespace {

std::optional<outrider::SafetensorsHeader> parse(outrider::HeaderReader& reader, const std::string& json) {
  try {
    return reader.parse(json, "fuzz");
  } catch (const outrider::Error&) {
    return std::nullopt;
  }
}

// What two readers made of the same header, `a` by `of_a`.
void expect_same(const outrider::SafetensorsHeader& a, const outrider::HeaderReader& of_a,
                 const outrider::SafetensorsHeader& b, const outrider::HeaderReader& of_b) {
  if (a.tensors.size() != b.tensors.size() || a.keys.size() != a.tensors.size()) std::abort();
  if (b.keys.size() != b.tensors.size()) std::abort();
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    const outrider::TensorInfo& x = a.tensors[i];
    const outrider::TensorInfo& y = b.tensors[i];
    if (of_a.patterns().name(a.keys[i]) != of_b.patterns().name(b.keys[i])) std::abort();
    if (x.dtype != y.dtype || x.begin != y.begin || x.end != y.end) std::abort();
    if (!std::equal(x.shape.begin(), x.shape.end(), y.shape.begin(), y.shape.end())) std::abort();
  }
}

}  // namespace

// Any header either fails with an Error or describes tensors that cover the data section without hole or overlap; and
// what it describes does not depend on what was read before, nor on how it is read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string json(reinterpret_cast<const char*>(data), size);
  outrider::HeaderReader reader;
  const auto header = parse(reader, json);
  if (header) {
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < header->tensors.size(); ++i) {
      const outrider::TensorInfo& t = header->tensors[i];
      if (t.begin != at || outrider::tensor_bytes(t.dtype, t.shape) != t.bytes()) std::abort();
      at = t.end;
    }
    if (at != header->data_bytes) std::abort();
  }
  const auto again = parse(reader, json);
  if (again.has_value() != header.has_value()) std::abort();
  if (again) expect_same(*again, reader, *header, reader);
  if (json.empty() || json[0] != '{') return 0;
  // An escape keeps the shortcuts out.
  outrider::HeaderReader other;
  const auto any = parse(other, R"({"__metadata__":{"\u0061":"b"},)" + json.substr(1));
  if (any && !header) std::abort();
  if (header && !any && header->metadata.empty() && !header->tensors.empty()) std::abort();
  if (any) expect_same(*any, other, *header, reader);
  return 0;
}
