// Cells of a small made-up model, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/half.h"
#include "core/random.h"
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

inline Cells generate_cells(const ModelShape& shape, size_t first, size_t n, uint64_t seed) {
  Cells cells = make_cells(shape, first, n);
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

inline void expect_equal(const Cells& a, const Cells& b) {
  EXPECT_EQ(a.first, b.first);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.keys, b.keys);
  EXPECT_EQ(a.values, b.values);
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
