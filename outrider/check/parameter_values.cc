#include "outrider/check/parameter_values.h"

namespace outrider {

std::optional<ParameterValues> ParameterValues::of(const BindingReport& binding, const TensorData& data,
                                                   ParameterId id) {
  const Binding& b = binding.bindings[id];
  const Parameter& parameter = (*binding.manifest)[id];
  if (!b.bound || parameter.spec().storage == Storage::kInteger) return std::nullopt;
  for (const std::int32_t t : b.tensors) {
    if (t >= 0 && !data.readable(binding.tensor(static_cast<TensorId>(t)))) return std::nullopt;
  }
  const Component codes = b.codes();
  const TensorSlice slice = binding.slice(id, codes);
  const TensorInfo& tensor = binding.tensor(slice.tensor);
  ParameterValues out(data, tensor);
  out.begin_ = slice.begin;
  const std::uint64_t rows = parameter.shape.rank == 2 ? parameter.shape.dims[0] : 1;
  const std::uint64_t cols = parameter.shape.rank == 2 ? parameter.shape.dims[1] : parameter.shape.dims[0];
  if (rows * cols == 0 || slice.bytes % rows != 0) return std::nullopt;
  const StorageFormSpec& spec = storage_form(b.form);
  if (!spec.quantised() &&
      (!is_plain_float(tensor.dtype) || slice.bytes != rows * cols * dtype_bits(tensor.dtype) / 8)) {
    return std::nullopt;
  }
  MatrixTensors tensors;
  bool scaled = false;
  for (std::size_t i = 0; i < kComponentCount; ++i) {
    const auto component = static_cast<Component>(i);
    const auto t = b.tensor(component);
    if (!t) continue;
    const TensorInfo& info = binding.tensor(*t);
    tensors[component] = {data.piece(info, 0, info.bytes()), info.dtype};
    scaled = scaled || (is_scale_spelling(component) && info.shape.size() == 2);
  }
  if (spec.quantised() && !scaled) return std::nullopt;
  tensors[codes].bytes = data.piece(tensor, slice.begin, slice.bytes);
  const ScaleBlock block = scale_block(spec, binding.manifest->config().fp8_block(), b.group_size);
  if (block.rows == 0 || block.cols == 0) return std::nullopt;
  out.matrix_ = stored_matrix(b.form, {rows, cols, block}, tensors);
  if (out.matrix_.group_out_of_range()) return std::nullopt;
  return out;
}

void ParameterValues::read(std::uint64_t begin, std::uint64_t count, float* out) const {
  while (count != 0) {
    const std::uint64_t col = begin % cols();
    const std::uint64_t here = std::min(count, cols() - col);
    decode(matrix_, begin / cols(), col, here, out);
    begin += here;
    count -= here;
    out += here;
  }
}

void ParameterValues::drop(std::uint64_t begin, std::uint64_t count) const {
  // Rows shared with the next piece are read again.
  const std::uint64_t first = begin / cols() * matrix_.row_bytes;
  data_->drop(*codes_, begin_ + first, (begin + count) / cols() * matrix_.row_bytes - first);
}

}  // namespace outrider
