#include "core/kv_block.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/half.h"
#include "core/threads.h"

namespace kvsplice {

namespace {

float from_bfloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Calls put(row, column, element) for all of a view's elements.
template <class E, class Put>
void for_elements(const RowsView& from, const Put& put) {
  const E* start = static_cast<const E*>(from.data);
  for (size_t r = 0; r < from.rows; ++r) {
    const E* row = start + static_cast<ptrdiff_t>(r) * from.row_stride;
    for (size_t c = 0; c < from.cols; ++c) {
      put(r, c, row[static_cast<ptrdiff_t>(c) * from.col_stride]);
    }
  }
}

}  // namespace

size_t bytes_of(Element element) { return element == Element::f32 ? 4 : 2; }

RowsView::RowsView(MatrixView<const float> m)
    : RowsView(m.data, m.rows, m.cols, static_cast<ptrdiff_t>(m.stride), 1, Element::f32) {}

RowsView::RowsView(MatrixView<const uint16_t> m)
    : RowsView(m.data, m.rows, m.cols, static_cast<ptrdiff_t>(m.stride), 1, Element::f16) {}

RowsView RowsView::row_range(size_t first, size_t n) const {
  RowsView part = *this;
  const auto skip = static_cast<ptrdiff_t>(first) * row_stride;
  if (n > 0) {
    part.data = static_cast<const uint8_t*>(data) + skip * static_cast<ptrdiff_t>(bytes_of(element));
  }
  part.rows = n;
  return part;
}

void read_rows(const RowsView& from, MatrixView<float> out) {
  switch (from.element) {
    case Element::f32:
      for_elements<float>(from, [&](size_t r, size_t c, float x) { out(r, c) = x; });
      return;
    case Element::f16:
      for_elements<uint16_t>(from, [&](size_t r, size_t c, uint16_t x) { out(r, c) = from_half(x); });
      return;
    case Element::bf16:
      for_elements<uint16_t>(from,
                             [&](size_t r, size_t c, uint16_t x) { out(r, c) = from_bfloat(x); });
      return;
  }
}

void read_rows(const RowsView& from, MatrixView<uint16_t> out) {
  switch (from.element) {
    case Element::f32:
      for_elements<float>(from,
                          [&](size_t r, size_t c, float x) { out(r, c) = to_finite_half(x); });
      return;
    case Element::f16:
      for_elements<uint16_t>(from, [&](size_t r, size_t c, uint16_t x) { out(r, c) = x; });
      return;
    case Element::bf16:
      for_elements<uint16_t>(from, [&](size_t r, size_t c, uint16_t x) {
        out(r, c) = to_finite_half(from_bfloat(x));
      });
      return;
  }
}

void to_halves(MatrixView<const float> from, MatrixView<uint16_t> out) {
  for (size_t r = 0; r < from.rows; ++r) {
    std::transform(from.row(r).begin(), from.row(r).end(), out.row(r).begin(), to_finite_half);
  }
}

KvView KvView::slice(size_t first, size_t n) const {
  KvView part;
  part.tokens = tokens.subspan(first, n);
  part.positions = positions.subspan(first, n);
  part.space = space;
  part.absent = std::min(n, absent - std::min(absent, first));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const RowsView& rows : of(kind)) {
      part.of(kind).push_back(rows.rows == 0 ? rows : rows.row_range(first, n));
    }
  }
  return part;
}

template <class T>
KvBlock<T>::KvBlock(const ModelShape& shape, Space in, size_t first, size_t n)
    : tokens(n), positions(n), space(in) {
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
  for (const LayerShape& layer : shape.layers) {
    keys.emplace_back(n, layer.width(Kind::key));
    values.emplace_back(n, layer.width(Kind::value));
  }
}

template <class T>
KvView KvBlock<T>::view() const {
  KvView view;
  view.tokens = tokens;
  view.positions = positions;
  view.space = space;
  view.absent = absent;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const Matrix<T>& rows : of(kind)) view.of(kind).emplace_back(rows.view());
  }
  return view;
}

template struct KvBlock<float>;
template struct KvBlock<uint16_t>;

template <class T>
void put(KvBlock<T>& all, size_t at, const KvView& part, size_t from, size_t n) {
  std::copy_n(part.tokens.begin() + static_cast<ptrdiff_t>(from), n,
              all.tokens.begin() + static_cast<ptrdiff_t>(at));
  std::copy_n(part.positions.begin() + static_cast<ptrdiff_t>(from), n,
              all.positions.begin() + static_cast<ptrdiff_t>(at));
  if (part.absent > from) all.absent = std::max(all.absent, at + std::min(part.absent - from, n));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < part.of(kind).size(); ++l) {
      const RowsView& rows = part.of(kind)[l];
      if (rows.rows > 0) read_rows(rows.row_range(from, n), all.of(kind)[l].view().row_range(at, n));
    }
  }
}

template void put(KvBlock<float>&, size_t, const KvView&, size_t, size_t);
template void put(KvBlock<uint16_t>&, size_t, const KvView&, size_t, size_t);

void turn_keys(MatrixView<float> keys, const LayerShape& layer, std::span<const int32_t> positions,
               Space from, Space to) {
  if (from == to || keys.rows == 0 || !layer.rope.rotates()) return;
  if (to == Space::cached) {
    layer.rope.apply(keys, layer.key_dim, positions);
  } else {
    layer.rope.undo(keys, layer.key_dim, positions);
  }
}

Matrix<float> rows_in(const KvView& view, const ModelShape& shape, Kind kind, size_t layer,
                      Space space) {
  const RowsView& from = view.of(kind)[layer];
  Matrix<float> rows(from.rows, from.cols);
  read_rows(from, rows);
  if (kind == Kind::key) {
    turn_keys(rows, shape.layers[layer], view.positions, view.space, space);
  }
  return rows;
}

template <class T>
KvBlock<T> convert(const KvView& view, const ModelShape& shape, Space space) {
  KvBlock<T> block;
  block.tokens.assign(view.tokens.begin(), view.tokens.end());
  block.positions.assign(view.positions.begin(), view.positions.end());
  block.space = space;
  block.absent = view.absent;
  block.keys.resize(view.keys.size());
  block.values.resize(view.values.size());
  parallel_for(view.keys.size(), [&](size_t l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const RowsView& from = view.of(kind)[l];
      Matrix<T> to(from.rows, from.cols);
      if (view.space == space || kind == Kind::value) {
        read_rows(from, to);
      } else {
        read_rows(RowsView(rows_in(view, shape, kind, l, space).view()), to);
      }
      block.of(kind)[l] = std::move(to);
    }
  });
  return block;
}

template KvBlock<float> convert(const KvView&, const ModelShape&, Space);
template KvBlock<uint16_t> convert(const KvView&, const ModelShape&, Space);

KvSink sink_into(KvBlock<uint16_t>& block, size_t at) {
  return [&block, at](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
    to_halves(rows, block.of(kind)[layer].view().row_range(at, rows.rows));
    return {};
  };
}

}  // namespace kvsplice
