// Rows where they lie, on their way to where they go.
#include "core/kv_block.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "core/half.h"
#include "core/random.h"

namespace kvsplice {
namespace {

using testing::ElementsAre;

// Two layers; the second slides.
ModelShape two_layers() {
  ModelShape shape;
  for (int l = 0; l < 2; ++l) {
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = 2;
    layer.key_dim = 4;
    layer.value_dim = 3;
    layer.window = l == 1 ? 3 : 0;
    layer.rope.frequency = {1, 0.1f};
    shape.layers.push_back(layer);
  }
  return shape;
}

template <class T>
KvBlock<T> some_block(size_t first, size_t n) {
  KvBlock<T> block(two_layers(), Space::cached, first, n);
  Random random(first + 7);
  for (size_t i = 0; i < n; ++i) block.tokens[i] = static_cast<int32_t>(100 + first + i);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (Matrix<T>& rows : block.of(kind)) {
      for (T& x : rows.flat()) {
        const auto value = static_cast<float>(random.normal());
        x = std::is_same_v<T, float> ? static_cast<T>(value) : static_cast<T>(to_half(value));
      }
    }
  }
  return block;
}

Matrix<float> floats_of(const RowsView& rows) {
  Matrix<float> out(rows.rows, rows.cols);
  read_rows(rows, out);
  return out;
}

Matrix<uint16_t> halves_of(const RowsView& rows) {
  Matrix<uint16_t> out(rows.rows, rows.cols);
  read_rows(rows, out);
  return out;
}

TEST(RowsView, ElementsAreReadAsFloatsAndAsHalves) {
  const float floats[] = {1, -0.5f, 70000, 0.1f};
  const RowsView f32(floats, 2, 2, 2, 1, Element::f32);
  EXPECT_THAT(floats_of(f32).flat(), ElementsAre(1, -0.5f, 70000, 0.1f));
  EXPECT_THAT(halves_of(f32).flat(), ElementsAre(0x3c00, 0xb800, 0x7bff, to_half(0.1f)));
  const uint16_t halves[] = {0x3c00, 0xb800, 0x7c00, 0x0001};
  const RowsView f16(halves, 2, 2, 2, 1, Element::f16);
  EXPECT_THAT(halves_of(f16).flat(), ElementsAre(0x3c00, 0xb800, 0x7c00, 0x0001));
  EXPECT_THAT(floats_of(f16).flat(), ElementsAre(1, -0.5f, INFINITY, 0x1p-24f));
  const uint16_t brains[] = {0x3f80, 0xbf00, 0x7f7f, 0x4049};
  const RowsView bf16(brains, 2, 2, 2, 1, Element::bf16);
  EXPECT_THAT(floats_of(bf16).flat(), ElementsAre(1, -0.5f, 3.3895314e38f, 3.140625f));
  EXPECT_THAT(halves_of(bf16).flat(), ElementsAre(0x3c00, 0xb800, 0x7bff, to_half(3.140625f)));
}

TEST(RowsView, RowsMayLieAnyhow) {
  // Three rows of two, first in columns, then in every other row of four, then at an odd address.
  const uint16_t columns[] = {1, 3, 5, 2, 4, 6};
  const uint16_t wide[] = {1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0};
  uint8_t odd[13];
  const uint16_t straight[] = {1, 2, 3, 4, 5, 6};
  std::memcpy(odd + 1, straight, sizeof straight);
  for (const RowsView& rows :
       {RowsView(columns, 3, 2, 1, 3, Element::f16), RowsView(wide, 3, 2, 4, 1, Element::f16),
        RowsView(odd + 1, 3, 2, 2, 1, Element::f16)}) {
    EXPECT_THAT(halves_of(rows).flat(), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(halves_of(rows.row_range(1, 2)).flat(), ElementsAre(3, 4, 5, 6));
    EXPECT_EQ(rows.row_range(3, 0).rows, 0u);
    EXPECT_EQ(floats_of(rows)(2, 1), 0x6p-24f);
  }
}

TEST(RowsPlace, RowsGoAnyhow) {
  Matrix<uint16_t> rows(3, 2);
  for (size_t i = 0; i < 6; ++i) rows.flat()[i] = static_cast<uint16_t>(i + 1);
  uint16_t columns[6] = {};
  write_rows(rows.view(), RowsPlace(columns, 3, 2, 1, 3));
  EXPECT_THAT(columns, ElementsAre(1, 3, 5, 2, 4, 6));
  uint8_t odd[13] = {};
  write_rows(rows.view().row_range(1, 2), RowsPlace(odd + 1, 3, 2, 2, 1).row_range(1, 2));
  EXPECT_THAT(odd, ElementsAre(0, 0, 0, 0, 0, 3, 0, 4, 0, 5, 0, 6, 0));
  Matrix<float> large(1, 2);
  large(0, 0) = -1e30f, large(0, 1) = NAN;
  Matrix<uint16_t> out(1, 2);
  write_rows(large.view(), out.view());
  EXPECT_EQ(out(0, 0), 0xfbff) << "finite values stay finite";
  EXPECT_FALSE(is_finite_half(out(0, 1)));
}

TEST(KvPlace, RowsWithoutAPlaceAreDropped) {
  auto block = some_block<uint16_t>(0, 6);
  const auto before = block;
  KvPlace place = place_of(block, 6);
  place.keys[1] = place.keys[1].row_range(4, 2);  // of the newest two
  Matrix<uint16_t> rows(4, 8);
  for (size_t i = 0; i < rows.size(); ++i) rows.flat()[i] = static_cast<uint16_t>(1000 + i);
  const auto put = [&](ptrdiff_t at) {
    block = before;
    place.put(Kind::key, 0, at, std::as_const(rows).view());
    place.put(Kind::key, 1, at, std::as_const(rows).view());
  };
  for (ptrdiff_t at = -5; at <= 7; ++at) {
    put(at);
    for (size_t l : {0, 1}) {
      for (ptrdiff_t r = 0; r < 6; ++r) {
        const bool there = r >= at && r < at + 4 && (l == 0 || r >= 4);
        const auto row = std::as_const(block).keys[l].row(size_t(r));
        const auto wanted = there ? std::as_const(rows).row(size_t(r - at))
                                  : std::as_const(before).keys[l].row(size_t(r));
        EXPECT_TRUE(std::ranges::equal(row, wanted)) << at << " " << l << " " << r;
      }
    }
  }
}

TEST(KvView, SlicesOfSlicesAreSlices) {
  auto block = some_block<uint16_t>(10, 8);
  block.absent = 3;
  KvView view = block;
  for (Kind kind : {Kind::key, Kind::value}) {  // begins behind what is absent
    view.of(kind)[1] = view.of(kind)[1].row_range(3, 5);
  }
  for (const KvView& whole : {KvView(block), view}) {
    for (size_t first = 0; first <= 8; ++first) {
      for (size_t n = 0; first + n <= 8; ++n) {
        const KvView part = whole.slice(first / 2, 8 - first / 2).slice(first - first / 2, n);
        EXPECT_EQ(part.count(), n);
        EXPECT_EQ(part.absent, std::min(n, first < 3 ? 3 - first : 0));
        for (size_t l : {0, 1}) {
          const RowsView& rows = part.values[l];
          ASSERT_LE(rows.rows, n);
          ASSERT_GE(rows.rows, l == 0 ? n : n - part.absent);
          for (size_t r = 0; r < rows.rows; ++r) {
            const size_t at = first + n - rows.rows + r;
            EXPECT_TRUE(std::ranges::equal(halves_of(rows.row_range(r, 1)).flat(),
                                           std::as_const(block).values[l].row(at)));
          }
        }
        if (n == 0) continue;
        EXPECT_EQ(part.tokens[0], int32_t(110 + first));
        EXPECT_EQ(part.positions[n - 1], int32_t(9 + first + n));
      }
    }
  }
}

TEST(KvBlock, PartsMakeTheWhole) {
  const auto whole = some_block<uint16_t>(5, 9);
  KvBlock<uint16_t> made(two_layers(), Space::cached, 0, 9);
  put(made, 4, whole, 4, 5);
  put(made, 0, whole.view().slice(0, 6), 0, 4);
  EXPECT_EQ(made, whole);
  // Absent rows stay zeros, and are counted.
  KvView lacking = whole.view().slice(0, 4);
  lacking.absent = 4;
  lacking.keys[1] = lacking.values[1] = lacking.keys[1].row_range(0, 0);
  KvBlock<uint16_t> gap(two_layers(), Space::cached, 5, 9);
  put(gap, 0, lacking, 0, 4);
  put(gap, 4, whole, 4, 5);
  EXPECT_EQ(gap.absent, 4u);
  EXPECT_EQ(gap.keys[0], whole.keys[0]);
  EXPECT_EQ(gap.keys[1](3, 0), 0);
  EXPECT_EQ(gap.keys[1](4, 0), whole.keys[1](4, 0));
}

TEST(KvBlock, KeysTurnByTheirPositionsAndBack) {
  const ModelShape shape = two_layers();
  const auto cached = some_block<float>(40, 7);
  const auto raw = convert<float>(cached, shape, Space::raw);
  EXPECT_EQ(raw.space, Space::raw);
  EXPECT_EQ(raw.values, cached.values);
  EXPECT_EQ(raw.positions, cached.positions);
  // By hand: the first pair of the first head of row 2, at position 42.
  const double x = cached.keys[0](2, 0), y = cached.keys[0](2, 1), angle = -42;
  EXPECT_NEAR(raw.keys[0](2, 0), x * std::cos(angle) - y * std::sin(angle), 1e-5);
  EXPECT_NEAR(raw.keys[0](2, 1), x * std::sin(angle) + y * std::cos(angle), 1e-5);
  const auto back = convert<float>(raw, shape, Space::cached);
  for (size_t i = 0; i < back.keys[1].size(); ++i) {
    EXPECT_NEAR(back.keys[1].flat()[i], cached.keys[1].flat()[i], 1e-5);
  }
  // Rows that begin later turn by the positions of their own tokens.
  KvView late = cached;
  late.absent = 3;
  late.keys[1] = late.keys[1].row_range(3, 4);
  const Matrix<float> rows = rows_in(late, shape, Kind::key, 1, Space::raw);
  ASSERT_EQ(rows.rows(), 4u);
  EXPECT_EQ(rows(0, 0), raw.keys[1](3, 0));
}

TEST(KvBlock, TheSameSpaceIsTheSameToTheBit) {
  const auto block = some_block<uint16_t>(0, 5);
  EXPECT_EQ(convert<uint16_t>(block, two_layers(), Space::cached), block);
  EXPECT_EQ(convert<uint16_t>(convert<float>(block, two_layers(), Space::cached), two_layers(),
                              Space::cached),
            block);
}

TEST(KvBlock, APlaceTakesRowsFromOneTokenOn) {
  KvBlock<uint16_t> block(two_layers(), Space::cached, 0, 6);
  const auto part = some_block<float>(0, 4);
  place_of(block, 6).put(Kind::value, 1, 2, part.values[1].view());
  EXPECT_EQ(block.values[1](1, 0), 0);
  EXPECT_EQ(block.values[1](2, 0), to_half(part.values[1](0, 0)));
  EXPECT_EQ(block.values[1](5, 5), to_half(part.values[1](3, 5)));
}

TEST(KvBlock, LacksWindowsIfNoTokenHasTheirRows) {
  auto block = some_block<uint16_t>(0, 4);
  for (size_t absent : {0, 3, 4}) {
    block.absent = absent;
    EXPECT_EQ(lacks_windows(block), absent == 4);
  }
  EXPECT_FALSE(lacks_windows(KvView()));
}

}  // namespace
}  // namespace kvsplice
