// The cache of one layer, as attention reads it: the first tokens and the newest ones as they are,
// in half precision, and all between in blocks of 64.
#pragma once

#include "live/form.h"

namespace kvsplice::live {

struct LiveOptions {
  size_t sinks = 4;     // first tokens that stay as they are
  size_t window = 128;  // newest tokens that do, at least
};

class LayerCache {
 public:
  LayerCache(const LiveForm& form, size_t layer, const LiveOptions& options);

  size_t count() const { return count_; }
  size_t bytes() const;  // of cells; the form's tables are shared

  // The next tokens' rows, as the cache holds them: [n x width]. What has left the window by then
  // goes to blocks first, so that tokens appended together see each other as they are.
  Result<> append(MatrixView<const float> keys, MatrixView<const float> values);

  // Attention of the newest n tokens, each to itself and all before it: queries [n x query heads *
  // key dim], out [n x query heads * value dim]. Scores are scale x query . key, then, with a soft
  // cap, cap x tanh(score / cap).
  void attend(MatrixView<const float> queries, float scale, float cap, MatrixView<float> out) const;

 private:
  struct Part;
  struct Queries;
  Result<> move_block();
  const FoldedUnit& unit(Kind kind) const { return form_->unit(kind, layer_); }
  const LayerShape& shape() const { return form_->shape().layers[layer_]; }
  size_t blocks() const { return starts_.size(); }
  size_t exact_rows() const { return keys_.size() / size_t(shape().width(Kind::key)); }
  size_t position_of_exact(size_t row) const;
  size_t group() const;
  std::vector<Queries> prepare(MatrixView<const float> queries, float scale) const;
  void begin_scores(const Queries& q, size_t g, const float* turned,
                    MatrixView<float> scores) const;
  std::vector<Matrix<float>> turned_back(std::span<const Queries> heads, size_t start) const;
  void turn_by_block(std::vector<Matrix<float>>& rows) const;
  void attend_blocks(std::span<const Queries> heads, float cap, size_t first, size_t end,
                     Part& part) const;
  void attend_exact(std::span<const Queries> heads, float cap, size_t tokens, Part& part) const;
  void unfold(Part& part, size_t rows) const;

  const LiveForm* form_;
  size_t layer_;
  LiveOptions options_;
  size_t count_ = 0;
  std::vector<uint16_t> keys_, values_;  // rows as they are: sinks, then the window
  Bytes key_planes_, value_planes_;      // blocks, one behind the other
  std::vector<uint32_t> starts_;         // a block's first position
};

}  // namespace kvsplice::live
