// Exact cells from the decoder's side: codes and bits of a stage that was fitted, and states.
#include <algorithm>

#include "codec/stage.h"
#include "core/random.h"

using namespace kvsplice;
using namespace kvsplice::codec;

namespace kvsplice::codec {
StageInfo exact_stage();
}

namespace {

constexpr size_t kRows = 19, kColumns = 5;

Unit unit() {
  Unit made{Kind::key, 0, {static_cast<int>(kColumns)}, {}};
  made.rope.frequency = {1, 0.1f};
  return made;
}

// Runs over the bytes, then gives zeros.
class Source {
 public:
  Source(const uint8_t* data, size_t size) : left_(data, size) {}
  int8_t next() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_[0];
    left_ = left_.subspan(1);
    return static_cast<int8_t>(byte);
  }
  ByteSpan rest() const { return left_; }

 private:
  ByteSpan left_;
};

const Stage& fitted(const Context& context) {
  static const auto stage = [&] {
    Random random(1);
    Matrix<float> rows(kRows, kColumns);
    for (float& x : rows.flat()) x = static_cast<float>(random.normal());
    auto made = exact_stage().make({}).value();
    (void)made->fit({rows, {}, false, 0}, context).ok();
    return made;
  }();
  return *stage;
}

void decode(const Stage& stage, Source& source, const Context& context) {
  Rows rows;
  rows.quantised = true;
  rows.codes = Matrix<int32_t>(kRows, kColumns);
  for (int32_t& code : rows.codes.flat()) {
    const int8_t byte = source.next();
    code = byte == -128 ? 1 << 30 : int32_t{byte} * (byte % 4 == 0 ? 1 << 20 : 1);
  }
  ByteReader side(source.rest());
  (void)stage.decode(rows, kRows, context, side).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::vector<int32_t> positions(kRows);
  for (size_t i = 0; i < kRows; ++i) positions[i] = static_cast<int32_t>(i * i);
  const Unit of = unit();
  const Context context{of, {}, positions};
  const Stage& stage = fitted(context);
  Source source(data + 1, size - 1);
  if (data[0] % 2 == 0) {
    decode(stage, source, context);
    return 0;
  }
  State state = stage.save();
  for (auto& [name, array] : state) {
    const int scale = data[0] >> 1;
    for (float& v : array.values)
      v += static_cast<float>(source.next() * (scale % 8 == 7 ? 1 << 17 : scale % 8));
  }
  auto other = exact_stage().make({}).value();
  if (other->load(state, kColumns).ok()) decode(*other, source, context);
  return 0;
}
