// What is known of a block's tokens while its units are coded: their embedding rows, what units
// share, and in a closed loop what has been made of earlier units. Fitting goes the same way.
#pragma once

#include "codec/embedding_basis.h"
#include "codec/unit_coder.h"

namespace kvsplice::codec {

class BlockCoding {
 public:
  // Error usage if stages read embeddings and there are none.
  static Result<BlockCoding> begin(const ModelShape& shape, const StageInfo::Traits& traits,
                                   std::span<const int32_t> tokens,
                                   std::span<const int32_t> positions,
                                   const Embeddings* embeddings);

  MatrixView<const float> embedded() const { return embedded_; }
  // Gives units what the tokens' embeddings are in the codec's basis. Error usage if those have
  // another width.
  Result<> project(const EmbeddingBasis& basis);

  // Whether units read what was made of others, and must come one after the other.
  bool closed_loop() const { return depth_ > 0; }
  CodeContext context(const UnitCoder& unit);
  // Keeps what was made of a unit's rows while later units read it.
  void keep(const Unit& unit, Matrix<float> made);

 private:
  BlockCoding(const ModelShape& shape, int depth) : shape_(&shape), depth_(depth) {}
  std::vector<Reconstruction> history_of(const Unit& unit, int depth) const;
  void drop_unread(int layer);
  std::vector<Matrix<float>>& made(Kind kind) { return kind == Kind::key ? keys_ : values_; }

  const ModelShape* shape_;
  int depth_;  // the most layers below that a unit reads
  std::span<const int32_t> tokens_, positions_;
  Matrix<float> embedded_, directions_;
  Shared shared_;
  std::vector<Matrix<float>> keys_, values_;  // by layer
};

}  // namespace kvsplice::codec
