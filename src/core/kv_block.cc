#include "core/kv_block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "core/half.h"
#include "core/threads.h"

namespace kvsplice {

namespace {

float from_bfloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

template <class E>
E load(const uint8_t* from) {
  E value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Calls put(row, column, element) for all of a view's elements.
template <class E, class Put>
void for_elements(const RowsView& from, const Put& put) {
  const auto* start = static_cast<const uint8_t*>(from.data);
  const auto row_step = from.row_stride * ptrdiff_t(sizeof(E));
  const auto col_step = from.col_stride * ptrdiff_t(sizeof(E));
  for (size_t r = 0; r < from.rows; ++r) {
    const uint8_t* at = start + ptrdiff_t(r) * row_step;
    for (size_t c = 0; c < from.cols; ++c, at += col_step) put(r, c, load<E>(at));
  }
}

template <class T>
uint16_t half_of(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return to_finite_half(value);
  } else {
    return value;
  }
}

template <class T>
void put_rows(MatrixView<const T> from, const RowsPlace& to) {
  auto* start = static_cast<uint8_t*>(to.data);
  const auto col_step = to.col_stride * ptrdiff_t(sizeof(uint16_t));
  for (size_t r = 0; r < from.rows; ++r) {
    uint8_t* at = start + ptrdiff_t(r) * to.row_stride * ptrdiff_t(sizeof(uint16_t));
    for (const T value : from.row(r)) {
      const uint16_t half = half_of(value);
      std::memcpy(at, &half, sizeof half);
      at += col_step;
    }
  }
}

// How many first tokens have no rows there.
size_t missing(const KvView& view, const RowsView& rows) { return view.count() - rows.rows; }

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
    part.data =
        static_cast<const uint8_t*>(data) + skip * static_cast<ptrdiff_t>(bytes_of(element));
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
      for_elements<uint16_t>(from,
                             [&](size_t r, size_t c, uint16_t x) { out(r, c) = from_half(x); });
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
      if (from.col_stride == 1 && from.cols > 0) {
        for (size_t r = 0; r < from.rows; ++r) {
          std::memcpy(&out(r, 0), from.row_range(r, 1).data, 2 * from.cols);
        }
        return;
      }
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
      const size_t begin = std::max(first, missing(*this, rows)), end = std::max(first + n, begin);
      part.of(kind).push_back(rows.row_range(begin - missing(*this, rows), end - begin));
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
  const KvView some = part.slice(from, n);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < some.of(kind).size(); ++l) {
      const RowsView& rows = some.of(kind)[l];
      read_rows(rows, all.of(kind)[l].view().row_range(at + n - rows.rows, rows.rows));
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
    turn_keys(rows, shape.layers[layer], view.positions.last(rows.rows()), view.space, space);
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

RowsPlace::RowsPlace(MatrixView<uint16_t> m)
    : RowsPlace(m.data, m.rows, m.cols, static_cast<ptrdiff_t>(m.stride), 1) {}

RowsPlace RowsPlace::row_range(size_t first, size_t n) const {
  RowsPlace part = *this;
  if (n > 0) {
    part.data = static_cast<uint8_t*>(data) +
                static_cast<ptrdiff_t>(first) * row_stride * ptrdiff_t(sizeof(uint16_t));
  }
  part.rows = n;
  return part;
}

void write_rows(MatrixView<const float> from, const RowsPlace& to) { put_rows(from, to); }
void write_rows(MatrixView<const uint16_t> from, const RowsPlace& to) { put_rows(from, to); }

template <class T>
void KvPlace::put(Kind kind, size_t layer, ptrdiff_t at, MatrixView<const T> rows) const {
  const RowsPlace& to = of(kind)[layer];
  const auto first = ptrdiff_t(count) - ptrdiff_t(to.rows);  // token that has a place
  const ptrdiff_t begin = std::max(at, first);
  const ptrdiff_t end = std::min(at + ptrdiff_t(rows.rows), ptrdiff_t(count));
  if (begin >= end) return;
  const auto n = static_cast<size_t>(end - begin);
  write_rows(rows.row_range(size_t(begin - at), n), to.row_range(size_t(begin - first), n));
}

template void KvPlace::put(Kind, size_t, ptrdiff_t, MatrixView<const float>) const;
template void KvPlace::put(Kind, size_t, ptrdiff_t, MatrixView<const uint16_t>) const;

KvPlace place_of(KvBlock<uint16_t>& block, size_t n) {
  KvPlace place;
  place.count = n;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (auto& rows : block.of(kind)) place.of(kind).emplace_back(rows.view().row_range(0, n));
  }
  return place;
}

}  // namespace kvsplice
