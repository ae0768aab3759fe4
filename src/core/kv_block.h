// Rows of a key-value cache on their way between engines, codecs and files.
//
// A KvView says where rows are; a KvBlock owns them; a KvPlace says where they go; a KvSink takes
// them. Encoders read views and decoders fill places and sinks, so that a row is copied once on its
// way in and once on its way out.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/shape.h"

namespace kvsplice {

// What keys are: as the model makes them, before rotary embedding, or as a cache holds them, turned
// by their positions. Values are the same in both.
enum class Space { raw, cached };

enum class Element : uint8_t { f32, f16, bf16 };
size_t bytes_of(Element element);

// Rows of one layer's keys or values, in place. Strides count elements, so that a transposed matrix
// can be viewed. The data need not be aligned.
struct RowsView {
  const void* data = nullptr;
  size_t rows = 0, cols = 0;
  ptrdiff_t row_stride = 0, col_stride = 1;
  Element element = Element::f32;

  RowsView() = default;
  RowsView(const void* d, size_t r, size_t c, ptrdiff_t row, ptrdiff_t col, Element e)
      : data(d), rows(r), cols(c), row_stride(row), col_stride(col), element(e) {}
  RowsView(MatrixView<const float> m);     // NOLINT: a matrix is a view of its rows
  RowsView(MatrixView<const uint16_t> m);  // NOLINT: f16

  RowsView row_range(size_t first, size_t n) const;
};

// out [from.rows x from.cols]. Finite values that are too large for f16 become its largest.
void read_rows(const RowsView& from, MatrixView<float> out);
void read_rows(const RowsView& from, MatrixView<uint16_t> out);
// Halves from floats; finite values stay finite.
void to_halves(MatrixView<const float> from, MatrixView<uint16_t> out);

// The cache of n tokens, in place. Of layers with a sliding window the first `absent` tokens may
// have no rows: what stands there is not read, and a layer's view may begin behind any of them. So
// the rows of a layer are those of the newest tokens.
struct KvView {
  std::span<const int32_t> tokens, positions;  // size n
  Space space = Space::raw;
  size_t absent = 0;
  std::vector<RowsView> keys, values;  // by layer, [n x width], or fewer rows: see above

  size_t count() const { return tokens.size(); }
  const std::vector<RowsView>& of(Kind kind) const { return kind == Kind::key ? keys : values; }
  std::vector<RowsView>& of(Kind kind) { return kind == Kind::key ? keys : values; }
  KvView slice(size_t first, size_t n) const;
};

// The same, owned. T: float, or uint16_t for half precision.
template <class T>
struct KvBlock {
  std::vector<int32_t> tokens, positions;  // size n
  Space space = Space::raw;
  size_t absent = 0;
  std::vector<Matrix<T>> keys, values;  // by layer, [n x width]

  KvBlock() = default;
  // Zeros, for tokens that are still to be named, at positions first, first + 1, ...
  KvBlock(const ModelShape& shape, Space in, size_t first, size_t n);

  size_t count() const { return tokens.size(); }
  std::vector<Matrix<T>>& of(Kind kind) { return kind == Kind::key ? keys : values; }
  const std::vector<Matrix<T>>& of(Kind kind) const { return kind == Kind::key ? keys : values; }

  KvView view() const;
  operator KvView() const { return view(); }
  bool operator==(const KvBlock&) const = default;
};

extern template struct KvBlock<float>;
extern template struct KvBlock<uint16_t>;

// Copies rows [from, from + n) of `part`, with tokens and positions, to place `at` of `all`, whose
// space is the same.
template <class T>
void put(KvBlock<T>& all, size_t at, const KvView& part, size_t from, size_t n);

// A block of its own, of other elements or in another space.
template <class T>
KvBlock<T> convert(const KvView& view, const ModelShape& shape, Space space);

// One layer's rows as floats in that space.
Matrix<float> rows_in(const KvView& view, const ModelShape& shape, Kind kind, size_t layer,
                      Space space);
// Turns a layer's keys from one space to the other, in place.
void turn_keys(MatrixView<float> keys, const LayerShape& layer, std::span<const int32_t> positions,
               Space from, Space to);

// Where rows of half precision go. Like a RowsView.
struct RowsPlace {
  void* data = nullptr;
  size_t rows = 0, cols = 0;
  ptrdiff_t row_stride = 0, col_stride = 1;

  RowsPlace() = default;
  RowsPlace(void* d, size_t r, size_t c, ptrdiff_t row, ptrdiff_t col)
      : data(d), rows(r), cols(c), row_stride(row), col_stride(col) {}
  RowsPlace(MatrixView<uint16_t> m);  // NOLINT: a matrix is a place for its rows

  RowsPlace row_range(size_t first, size_t n) const;
};

// To rows of the same shape. Finite values stay finite.
void write_rows(MatrixView<const float> from, const RowsPlace& to);
void write_rows(MatrixView<const uint16_t> from, const RowsPlace& to);

// Where the rows of n tokens go. A layer may have room for the newest of them only.
struct KvPlace {
  size_t count = 0;
  std::vector<RowsPlace> keys, values;  // by layer, at most [count x width]

  std::vector<RowsPlace>& of(Kind kind) { return kind == Kind::key ? keys : values; }
  const std::vector<RowsPlace>& of(Kind kind) const { return kind == Kind::key ? keys : values; }

  // Puts rows of the tokens from number `at` on to their place. `at` may be negative; rows without
  // a place are dropped.
  template <class T>
  void put(Kind kind, size_t layer, ptrdiff_t at, MatrixView<const T> rows) const;
};
// The first n rows of each layer.
KvPlace place_of(KvBlock<uint16_t>& block, size_t n);

// Takes decoded rows [n x width] of one layer's keys or values. It is called once for each of them
// that a block has, and from several threads at once.
using KvSink = std::function<Result<>(Kind kind, size_t layer, MatrixView<const float> rows)>;

// Whether the layers with a window have no rows of any of the tokens.
inline bool lacks_windows(const KvView& view) {
  return view.count() > 0 && view.absent == view.count();
}

}  // namespace kvsplice
