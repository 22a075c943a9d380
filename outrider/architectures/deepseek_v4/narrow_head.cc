#include "outrider/architectures/deepseek_v4/narrow_head.h"

#include <algorithm>

#include "outrider/checkpoint/tensor_info.h"
#include "outrider/kernels/kernels.h"
#include "outrider/math/top_k.h"
#include "outrider/storage_forms/encode.h"
#include "outrider/storage_forms/stored_matrix.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

constexpr StorageForm kForm = StorageForm::kMxfp4;

}  // namespace

bool NarrowHead::possible(const Linear& head) {
  return head.cols() % kLanes == 0 && head.row_bytes() >= 2 * head.cols();
}

NarrowHead::NarrowHead(const Linear& head) : head_(head) {
  const TargetForm target = usual_target(kForm);
  const std::vector<EncodedTensor> described = encoded_tensors(target, head.rows(), head.cols(), "the head");
  MatrixTensors parts;
  for (const EncodedTensor& tensor : described) {
    tensors_.emplace_back(tensor_bytes(tensor.dtype, tensor.shape).value());
    parts[tensor.component] = {tensors_.back(), tensor.dtype};
  }
  ThreadPool pool(usable_processors());
  const std::size_t blocks = ceil_div(head.rows(), kEncodedRows);
  pool.ranges(blocks, 1, [&](std::size_t begin, std::size_t end) {
    const std::size_t cols = head.cols();
    std::vector<float> values(kEncodedRows * cols);
    std::vector<float> scratch;
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t first = block * kEncodedRows;
      const std::size_t count = std::min(kEncodedRows, head.rows() - first);
      for (std::size_t r = 0; r < count; ++r) {
        head.decode(default_kernels(), first + r, values.data() + r * cols, scratch);
      }
      encode_rows(target, {values.data(), cols, first, count, cols, 0}, tensors_);
    }
  });
  const WeightShape shape{head.rows(), head.cols(), scale_block(storage_form(kForm), {}, target.group_size)};
  narrow_ = Linear(stored_matrix(kForm, shape, parts));
}

void NarrowHead::multiply(Backend& backend, const Rows& x, Rows& logits) const {
  backend.multiply(narrow_, x, logits, ProductKind::kFloat);
  std::vector<Product> products;
  for (std::size_t t = 0; t < x.rows(); ++t) {
    for (const std::uint32_t token : top_k(logits[t], kCandidates)) {
      products.push_back({.weight = head_,
                          .x = x,
                          .y = logits,
                          .kind = ProductKind::kFloat,
                          .first = token,
                          .rows = 1,
                          .tokens = 1,
                          .x_row = t,
                          .y_row = t,
                          .y_col = token});
    }
  }
  backend.multiply(products);
}

}  // namespace outrider
