// Walsh-Hadamard transform of every head: spreads outliers over all columns without learning
// anything.
#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/transform/hadamard/hadamard_kernel.h"
#include "core/threads.h"

namespace kvsplice::codec {

namespace {

struct Params {
  template <class V>
  void visit(V&&) {}
};

// 96 = 3 x 32: a head whose size is no power of two is turned in blocks of the largest one in it.
size_t block_size(size_t dim) { return dim & (~dim + 1); }

class Hadamard : public Stage {
 public:
  explicit Hadamard(const Params&) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter&) const override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    turn(rows.values, context.unit);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader&) const override {
    KVS_TRY(check_values(rows, count, context.unit.width()));
    turn(rows.values, context.unit);
    return {};
  }

  Result<> load(const State&, size_t) override { return {}; }

 private:
  static void turn(Matrix<float>& x, const Unit& unit) {
    constexpr size_t kRows = 256;
    parallel_chunks(x.rows(), kRows, [&](size_t first, size_t count) {
      for (size_t r = first; r < first + count; ++r) {
        float* head = x.row(r).data();
        for (size_t dim : unit.head_dims) {
          hadamard(head, dim / block_size(dim), block_size(dim));
          head += dim;
        }
      }
    });
  }
};

}  // namespace

StageInfo hadamard_stage() {
  StageInfo info;
  info.name = "hadamard";
  info.group = "transform";
  info.summary = "Orthonormal Walsh-Hadamard transform of every head; spreads outliers.";
  info.params = describe<Params>();
  info.make = stage_maker<Hadamard, Params>("hadamard");
  return info;
}

}  // namespace kvsplice::codec
