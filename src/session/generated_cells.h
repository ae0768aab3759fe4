// Cells of a small made-up model, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/half.h"
#include "core/random.h"
#include "core/relative_error_test.h"
#include "core/temporary_folder.h"
#include "session/session.h"

namespace kvsplice::session {

inline ModelShape small_shape() {
  ModelShape shape;
  shape.architecture = "llama";
  shape.model_name = "generated";
  shape.fingerprint = std::string(32, '7');
  shape.query_heads = 2;
  shape.embedding_dim = 8;
  shape.vocabulary = 1000;
  for (int l = 0; l < 3; ++l) {
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = 2;
    layer.key_dim = 64;
    layer.value_dim = 32;
    for (int i = 0; i < 32; ++i) layer.rope.frequency.push_back(std::pow(1e4f, -float(i) / 32));
    shape.layers.push_back(layer);
  }
  return shape;
}

using Cells = KvBlock<uint16_t>;

inline Cells no_cells(const ModelShape& shape, size_t first, size_t n) {
  return {shape, Space::cached, first, n};
}

inline Cells generate_cells(const ModelShape& shape, size_t first, size_t n, uint64_t seed) {
  Cells cells = no_cells(shape, first, n);
  Random random(seed + first);
  for (int32_t& token : cells.tokens) token = static_cast<int32_t>(random.below(1000));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (auto& rows : cells.of(kind)) {
      for (size_t i = 0; i < rows.size(); ++i) {
        const double scale = std::exp2(-double(i % rows.cols()) / 8);
        rows.flat()[i] = to_half(static_cast<float>(scale * random.normal()));
      }
    }
  }
  return cells;
}

// The rows of all tokens; zeros where there are none.
template <class T>
Matrix<T> all_rows(const KvView& cells, Kind kind, size_t layer) {
  const RowsView& rows = cells.of(kind)[layer];
  Matrix<T> all(cells.count(), rows.cols);
  read_rows(rows, all.view().row_range(cells.count() - rows.rows, rows.rows));
  return all;
}

inline void expect_equal(const KvView& a, const KvView& b) {
  EXPECT_TRUE(std::ranges::equal(a.tokens, b.tokens));
  EXPECT_TRUE(std::ranges::equal(a.positions, b.positions));
  ASSERT_EQ(a.keys.size(), b.keys.size());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.keys.size(); ++l) {
      EXPECT_EQ(all_rows<uint16_t>(a, kind, l), all_rows<uint16_t>(b, kind, l)) << name(kind) << l;
    }
  }
}

inline double relative_error(const Matrix<float>& a, const Matrix<float>& b) {
  return kvsplice::relative_error(b.flat(), a.flat());
}

// A file name that nobody else has; the file goes with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& extension) : path_(folder_.file("file" + extension)) {}
  const std::string& path() const { return path_; }

 private:
  const TemporaryFolder folder_ = TemporaryFolder::create("test").value();
  const std::string path_;
};

}  // namespace kvsplice::session
