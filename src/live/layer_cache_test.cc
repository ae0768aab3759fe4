// Attention over a live cache against attention over what its codec makes of the same rows, in
// double and one by one.
#include "live/layer_cache.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/relative_error_test.h"
#include "session/fitted_codec_test.h"
#include "simd/target.h"

namespace kvsplice::live {
namespace {

using session::Cells;
using ::testing::HasSubstr;

constexpr size_t kTokens = 700;
constexpr LiveOptions kOptions{3, 100};

ModelShape grouped_shape() {
  ModelShape shape = session::small_shape();
  shape.query_heads = 6;
  return shape;
}

LiveForm form_of(const ModelShape& shape, const std::string& text) {
  return LiveForm::of(std::make_shared<codec::Codec>(session::fitted(shape, text))).value();
}

Matrix<float> draw(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> m(rows, cols);
  for (float& v : m.flat()) v = static_cast<float>(random.normal());
  return m;
}

// One layer, appended in pieces; the last piece asks.
struct Filled {
  Filled(const LiveForm& form, const ModelShape& shape, size_t layer, size_t last)
      : cache(form, layer, kOptions),
        keys(kTokens, size_t(shape.layers[layer].width(Kind::key))),
        values(kTokens, size_t(shape.layers[layer].width(Kind::value))) {
    const Cells cells = session::generate_cells(shape, 0, kTokens, 5);
    read_rows(RowsView(cells.keys[layer].view()), keys.view());
    read_rows(RowsView(cells.values[layer].view()), values.view());
    size_t at = 0;
    for (size_t n : {size_t{1}, size_t{250}, size_t{17}, kTokens - last - 268, last}) {
      EXPECT_TRUE(cache.append(keys.view().row_range(at, n), values.view().row_range(at, n)).ok());
      at += n;
    }
  }
  LayerCache cache;
  Matrix<float> keys, values;
};

// Blocks come back as the codec decodes them.
void replace_blocks(const codec::Codec& codec, size_t layer, size_t blocks, Filled& filled) {
  const ModelShape& shape = codec.shape();
  for (size_t b = 0; b < blocks; ++b) {
    const size_t first = kOptions.sinks + 64 * b;
    KvBlock<float> block(shape, Space::cached, first, 64);
    std::copy_n(filled.keys.row(first).data(), block.keys[layer].size(), block.keys[layer].data());
    std::copy_n(filled.values.row(first).data(), block.values[layer].size(),
                block.values[layer].data());
    const auto made = codec.roundtrip(block, nullptr, nullptr).value();
    const auto back = convert<float>(made, shape, Space::cached);
    std::copy_n(back.keys[layer].data(), back.keys[layer].size(), filled.keys.row(first).data());
    std::copy_n(back.values[layer].data(), back.values[layer].size(),
                filled.values.row(first).data());
  }
}

Matrix<float> attend_by_hand(const ModelShape& shape, size_t layer, const Filled& filled,
                             const Matrix<float>& queries, double scale, double cap) {
  const LayerShape& l = shape.layers[layer];
  const auto dim = size_t(l.key_dim), out_dim = size_t(l.value_dim);
  const size_t heads = size_t(shape.query_heads), group = heads / size_t(l.kv_heads);
  Matrix<float> out(queries.rows(), heads * out_dim);
  for (size_t i = 0; i < queries.rows(); ++i) {
    for (size_t h = 0; h < heads; ++h) {
      const size_t g = h / group, seen = kTokens - queries.rows() + i + 1;
      std::vector<double> y(out_dim);
      double total = 0;
      for (size_t t = 0; t < seen; ++t) {
        double score = 0;
        for (size_t c = 0; c < dim; ++c) {
          score += double(queries(i, h * dim + c)) * filled.keys(t, g * dim + c);
        }
        score *= scale;
        if (cap != 0) score = cap * std::tanh(score / cap);
        const double weight = std::exp(score);
        total += weight;
        for (size_t c = 0; c < out_dim; ++c) y[c] += weight * filled.values(t, g * out_dim + c);
      }
      for (size_t c = 0; c < out_dim; ++c) out(i, h * out_dim + c) = float(y[c] / total);
    }
  }
  return out;
}

class Attention : public ::testing::TestWithParam<const char*> {};

TEST_P(Attention, IsThatOverTheRowsOfTheCodec) {
  const ModelShape shape = grouped_shape();
  const codec::Codec codec = session::fitted(shape, GetParam());
  const LiveForm form = form_of(shape, GetParam());
  for (size_t last : {1, 30}) {
    for (const float cap : {0.f, 5.f}) {
      const size_t layer = last % 3;
      Filled filled(form, shape, layer, last);
      const Filled exact = filled;
      // All but what is in the window, before the last piece.
      const size_t blocks = (kTokens - last - kOptions.sinks - kOptions.window) / 64;
      replace_blocks(codec, layer, blocks, filled);
      const auto queries = draw(last, 6 * 64, 3);
      const auto wanted = attend_by_hand(shape, layer, filled, queries, 0.2, cap);
      for_each_simd_target([&](const std::string& name) {
        Matrix<float> got(last, 6 * 32);
        filled.cache.attend(queries, 0.2f, cap, got);
        EXPECT_LT(relative_error(got.flat(), wanted.flat()), 2e-4)
            << name << " " << last << " " << cap;
      });
      const auto without = attend_by_hand(shape, layer, exact, queries, 0.2, cap);
      EXPECT_GT(relative_error(without.flat(), wanted.flat()),
                2e-3);  // what a block does to rows is there
      EXPECT_LT(filled.cache.bytes(), 2 * kTokens * (128 + 64) / 2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, Attention,
    ::testing::Values("k: rotate|klt|widths(delta=0.5); v: klt|widths(delta=0.5)",
                      "k: rotmean(rest=on)|rotate|klt(scope=head)|widths(delta=0.5); "
                      "v: klt(scope=head)|widths(delta=0.5)",
                      "k: rotmean(rest=on)|rotate|widths(delta=0.8,most=3); v: widths(delta=0.6)"));

TEST(LiveForm, IsOfBlocksThatAttentionCanRead) {
  const ModelShape shape = grouped_shape();
  const auto refused = [&](const std::string& text) {
    const auto codec = std::make_shared<codec::Codec>(session::fitted(shape, text));
    const auto form = LiveForm::of(codec);
    return form.ok() ? std::string("taken") : form.error().message;
  };
  EXPECT_THAT(refused("k: klt|widths; v: widths"), HasSubstr("keys need `rotate` in front"));
  EXPECT_THAT(refused("k: rotate|klt; v: widths"), HasSubstr("end with `widths`"));
  EXPECT_THAT(refused("k: rotmean(rest=on)|rotate|widths; v: klt|step|range"),
              HasSubstr("end with `widths`"));
  EXPECT_THAT(refused("k: rotate|layers(embedding=off)|widths; v: widths"),
              HasSubstr("more than the row"));
  EXPECT_EQ(refused("k: rotate|hadamard|widths; v: hadamard|klt|widths"), "taken");
}

TEST(LiveForm, CountsItsBits) {
  const LiveForm form = form_of(grouped_shape(),
                                "k: rotate|widths(delta=1e-6,most=4); "
                                "v: widths(delta=1e-6,most=2)");
  EXPECT_DOUBLE_EQ(form.unit(Kind::key, 1).bits_per_value(), 4);
  EXPECT_DOUBLE_EQ(form.unit(Kind::value, 2).bits_per_value(), 2);
  EXPECT_NEAR(form.bits_per_value(), (128 * 4 + 64 * 2) / 192.0, 1e-9);
}

}  // namespace
}  // namespace kvsplice::live
