// Exact cells from the decoder's side: codes and bits of a stage that was fitted, and states.
#include "support/driver.h"
#include "support/exact_cells.h"

using namespace kvsplice;
using namespace kvsplice::codec;

const double fuzz::least_accepted = 0.1;

namespace {

// Runs over the bytes, then gives zeros.
class Source {
 public:
  explicit Source(ByteSpan bytes) : left_(bytes) {}
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

int32_t code_of(int8_t byte) {
  const bool small = byte >= -fuzz::kSmallCode && byte <= fuzz::kSmallCode;
  return small ? byte : int32_t{byte} * (1 << (std::abs(byte) % 24));
}

void decode(const Stage& stage, Source& source) {
  Rows rows;
  rows.quantised = true;
  rows.codes = Matrix<int32_t>(fuzz::kExactRows, fuzz::kExactColumns);
  for (int32_t& code : rows.codes.flat()) code = code_of(source.next());
  ByteReader side(source.rest());
  const CodeContext context = fuzz::exact_cells().context();
  if (stage.decode(rows, fuzz::kExactRows, context, side).ok()) fuzz::accept();
}

// Of finite numbers near good ones, and far from them.
void damage(State& state, int scale, Source& source) {
  const int factor = scale % 8 == 7 ? 1 << 17 : scale % 8;
  for (auto& [name, array] : state) {
    for (float& v : array.values) v += static_cast<float>(source.next() * factor);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Stage& stage = *fuzz::exact_cells().stage;
  Source source({data + 1, size - 1});
  if (data[0] % 2 == 0) {
    decode(stage, source);
    return 0;
  }
  State state = stage.save();
  damage(state, data[0] >> 1, source);
  const StageInfo& info = *find_stage("exact");
  auto other = info.make({}, info.version).value();
  if (other->load(state, fuzz::kExactColumns).ok()) decode(*other, source);
  return 0;
}
