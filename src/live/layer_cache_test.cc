// Attention over a live cache against attention over what its codec makes of the same rows, in
// double and one by one.
#include "live/layer_cache.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/relative_error_test.h"
#include "linalg/matrices_test.h"
#include "session/fitted_codec_test.h"
#include "simd/target.h"

namespace kvsplice::live {
namespace {

using session::Cells;
using ::testing::HasSubstr;

constexpr size_t kTokens = 1500;
constexpr LiveOptions kOptions{3, 100};

ModelShape grouped_shape(int kv_heads = 2, int window = 0, bool chunked = false) {
  ModelShape shape = session::small_shape();
  shape.query_heads = 6;
  for (LayerShape& layer : shape.layers) {
    layer.kv_heads = kv_heads;
    layer.window = window;
    layer.chunked = chunked;
  }
  return shape;
}

LiveForm form_of(const ModelShape& shape, const std::string& text) {
  return LiveForm::of(session::fitted(shape, text)).value();
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

// Blocks come back as codecs decode them: one for each block of a group, in turn.
void replace_blocks(const std::vector<codec::Codec>& codecs, size_t layer, size_t blocks,
                    Filled& filled) {
  const ModelShape& shape = codecs[0].shape();
  for (size_t b = 0; b < blocks; ++b) {
    const size_t first = kOptions.sinks + 64 * b;
    KvBlock<float> block(shape, Space::cached, first, 64);
    std::copy_n(filled.keys.row(first).data(), block.keys[layer].size(), block.keys[layer].data());
    std::copy_n(filled.values.row(first).data(), block.values[layer].size(),
                block.values[layer].data());
    const auto made = codecs[b % codecs.size()].roundtrip(block, nullptr, nullptr).value();
    const auto back = convert<float>(made, shape, Space::cached);
    std::copy_n(back.keys[layer].data(), back.keys[layer].size(), filled.keys.row(first).data());
    std::copy_n(back.values[layer].data(), back.values[layer].size(),
                filled.values.row(first).data());
  }
}

Matrix<float> attend_by_hand(const ModelShape& shape, size_t layer, const Filled& filled,
                             const Matrix<float>& queries, double scale, const Scoring& scoring) {
  const LayerShape& l = shape.layers[layer];
  const auto dim = size_t(l.key_dim), out_dim = size_t(l.value_dim);
  const size_t heads = size_t(shape.query_heads), group = heads / size_t(l.kv_heads);
  Matrix<float> out(queries.rows(), heads * out_dim);
  for (size_t i = 0; i < queries.rows(); ++i) {
    for (size_t h = 0; h < heads; ++h) {
      const size_t g = h / group, seen = kTokens - queries.rows() + i + 1;
      std::vector<double> y(out_dim);
      double total = scoring.sinks.empty() ? 0 : std::exp(double(scoring.sinks[h]));
      for (size_t t = l.first_seen(seen - 1); t < seen; ++t) {
        double score = 0;
        for (size_t c = 0; c < dim; ++c) {
          score += double(queries(i, h * dim + c)) * filled.keys(t, g * dim + c);
        }
        score *= scale;
        const double cap = scoring.soft_cap;
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

// A live form, and what codecs without grades make of a group's blocks, if nobody has attended.
struct Form {
  const char* text;
  std::vector<const char*> blocks;
  double tolerance = 2e-2;  // queries and weights are in bytes
  int kv_heads = 2;
  int window = 0;
  bool chunked = false;
};

// Matrices are in bytes, or in half precision: values near the middle of two levels may get the
// other one.
constexpr double kMatrices = 4e-2;

const std::vector<Scoring> kScorings = {{}, {5.f, {}}, {0, {7, -3, 2, 0.5, 4, -20}}};

class Attention : public ::testing::TestWithParam<Form> {};

TEST_P(Attention, IsThatOverTheRowsOfTheCodec) {
  const ModelShape shape =
      grouped_shape(GetParam().kv_heads, GetParam().window, GetParam().chunked);
  const LiveForm form = form_of(shape, GetParam().text);
  std::vector<codec::Codec> codecs;
  for (const char* text : GetParam().blocks) codecs.push_back(session::fitted(shape, text));
  for (size_t last : {1, 8, 30}) {
    for (const Scoring& scoring : kScorings) {
      const size_t layer = last % 3;
      Filled filled(form, shape, layer, last);
      const Filled exact = filled;
      const size_t groups = (kTokens - last - kOptions.sinks - kOptions.window) / kGroup;
      const size_t seen = shape.layers[layer].first_seen(kTokens - last);
      const size_t forgotten = seen < kOptions.sinks ? 0 : (seen - kOptions.sinks) / kGroup;
      EXPECT_EQ(filled.cache.bytes().tokens, (groups - std::min(groups, forgotten)) * kGroup);
      replace_blocks(codecs, layer, groups * kBlocks, filled);
      const auto queries = noise(last, 6 * 64, 3);
      const auto wanted = attend_by_hand(shape, layer, filled, queries, 0.2, scoring);
      const auto without = attend_by_hand(shape, layer, exact, queries, 0.2, scoring);
      const double harm = relative_error(without.flat(), wanted.flat());
      for_each_simd_target([&](const std::string& name) {
        Matrix<float> got(last, 6 * 32);
        LayerCache cache = filled.cache;
        cache.attend(queries, 0.2f, scoring, got);
        EXPECT_LT(relative_error(got.flat(), wanted.flat()), GetParam().tolerance)
            << name << " " << last << " " << scoring.soft_cap;
        // What bytes add to what the codec does to rows is next to nothing.
        EXPECT_NEAR(relative_error(without.flat(), got.flat()), harm, 0.03 * harm + 1e-4) << name;
      });
      if (forgotten < groups) {
        EXPECT_GT(harm, 2 * GetParam().tolerance);
      }
      const CellBytes bytes = filled.cache.bytes();
      EXPECT_LT(bytes.coded + bytes.exact, kTokens * shape.f16_bytes_per_token() / 3 / 2);
    }
  }
}

const char* const kKlt = "k: rotate|klt|widths(delta=0.5); v: klt|widths(delta=0.5)";
const char* const kByHead =
    "k: rotmean(rest=on)|rotate|klt(scope=head)|widths(delta=0.5); "
    "v: klt(scope=head)|widths(delta=0.5)";
const char* const kByTwo =
    "k: rotmean(rest=on)|rotate|klt(scope=head,heads=2)|widths(delta=0.5); "
    "v: klt|widths(delta=0.5)";
const char* const kNone =
    "k: rotmean(rest=on)|rotate|widths(delta=0.8,most=3); v: widths(delta=0.6)";
INSTANTIATE_TEST_SUITE_P(
    Forms, Attention,
    ::testing::Values(Form{kKlt, {kKlt}, kMatrices}, Form{kByHead, {kByHead}, kMatrices},
                      Form{kByTwo, {kByTwo}, kMatrices, 3}, Form{kNone, {kNone}, kMatrices},
                      Form{kByHead, {kByHead}, kMatrices, 2, 600},
                      Form{kNone, {kNone}, 5e-4, 2, 40},
                      Form{kByHead, {kByHead}, kMatrices, 2, 1000, true},
                      Form{"k: rotmean(rest=on)|rotate|klt|widths(delta=0.4,grades=4,spread=2); "
                           "v: klt(scope=head)|widths(delta=0.5,grades=2,spread=4)",
                           {"k: rotmean(rest=on)|rotate|klt|widths(delta=0.1); "
                            "v: klt(scope=head)|widths(delta=0.125)",
                            "k: rotmean(rest=on)|rotate|klt|widths(delta=0.2); "
                            "v: klt(scope=head)|widths(delta=0.125)",
                            "k: rotmean(rest=on)|rotate|klt|widths(delta=0.4); "
                            "v: klt(scope=head)|widths(delta=0.5)",
                            "k: rotmean(rest=on)|rotate|klt|widths(delta=0.8); "
                            "v: klt(scope=head)|widths(delta=0.5)"},
                           kMatrices},
                      Form{"k: rotate|widths(delta=0.4,grades=3); v: widths(delta=0.4,grades=3)",
                           {"k: rotate|widths(delta=0.2); v: widths(delta=0.2)",
                            "k: rotate|widths(delta=0.4); v: widths(delta=0.4)",
                            "k: rotate|widths(delta=0.4); v: widths(delta=0.4)",
                            "k: rotate|widths(delta=0.8); v: widths(delta=0.8)"}}));

// A cache of noise, whose tokens are found by their own keys.
struct Noise {
  explicit Noise(size_t window)
      : shape(grouped_shape()), form(fit(shape)), cache(form, 0, {0, window}) {}

  static LiveForm fit(const ModelShape& shape) {
    const auto text =
        codec::parse_codec("k: rotate|widths(delta=0.3,grades=4); v: widths(delta=0.3,grades=4)");
    KvBlock<float> noise(shape, Space::raw, 0, 1000);
    for (Kind kind : {Kind::key, Kind::value}) {
      for (size_t l = 0; l < shape.layers.size(); ++l) {
        noise.of(kind)[l] = kvsplice::noise(1000, size_t(shape.layers[l].width(kind)), 7 + l);
      }
    }
    const codec::BlockRows rows(std::move(noise));
    return LiveForm::of(codec::fit_codec(text.value(), shape, rows, nullptr, {}).value()).value();
  }

  void append(size_t first, size_t n) {
    EXPECT_TRUE(
        cache.append(keys.view().row_range(first, n), values.view().row_range(first, n)).ok());
  }

  // The squared error of what is found.
  double ask(size_t token) {
    Matrix<float> query(1, 6 * 64), out(1, 6 * 32);
    for (size_t h = 0; h < 6; ++h) {
      std::copy_n(keys.row(token).data() + h / 3 * 64, 64, query.row(0).data() + h * 64);
    }
    cache.attend(query, 1.f, {}, out);  // the key of its own has by far the largest score
    double error = 0;
    for (size_t h = 0; h < 6; ++h) {
      for (size_t c = 0; c < 32; ++c) {
        error += std::pow(double(out(0, h * 32 + c)) - values(token, h / 3 * 32 + c), 2);
      }
    }
    return error;
  }

  // The mean error of the first group's tokens that are chosen, and of the others.
  std::pair<double, double> errors(const std::function<bool(size_t)>& chosen) {
    double sums[2] = {}, counts[2] = {};
    for (size_t t = 0; t < kGroup; ++t) {
      sums[chosen(t)] += ask(t);
      counts[chosen(t)] += 1;
    }
    return {sums[1] / counts[1], sums[0] / counts[0]};
  }

  ModelShape shape;
  LiveForm form;
  LayerCache cache;
  Matrix<float> keys = noise(10 * kGroup, 128, 1), values = noise(10 * kGroup, 64, 2);
};

// Every fourth token is looked at while it is in the window. Asked for later, it comes back better.
TEST(LayerCache, CodesFinelyWhatWasLookedAt) {
  Noise noise(0);
  for (size_t t = 0; t < kGroup; ++t) noise.append(t, 1);
  for (size_t t = 0; t < kGroup; t += 4) EXPECT_LT(noise.ask(t), 1e-3);
  noise.append(kGroup, 1);
  EXPECT_EQ(noise.cache.bytes().tokens, kGroup);
  const auto [looked_at, others] = noise.errors([](size_t t) { return t % 4 == 0; });
  EXPECT_GT(looked_at, 0);
  EXPECT_LT(looked_at, 0.3 * others);
}

// All are looked at once, long before they leave.
TEST(LayerCache, CodesFinelyWhatCoarseBlocksWouldSpoil) {
  Noise noise(8 * kGroup);
  noise.append(0, kGroup);
  for (size_t t = 0; t < kGroup; ++t) noise.ask(t);
  noise.append(kGroup, 8 * kGroup);
  noise.append(9 * kGroup, 1);
  EXPECT_EQ(noise.cache.bytes().tokens, kGroup);
  std::vector<float> stakes(kGroup);
  for (Kind kind : {Kind::key, Kind::value}) {
    const Matrix<float>& all = kind == Kind::key ? noise.keys : noise.values;
    Matrix<float> rows(kGroup, all.cols());
    std::copy_n(all.data(), rows.size(), rows.data());
    const auto columns = noise.form.columns(kind, 0, std::move(rows), 0).value();
    const auto more = noise.form.at_stake(kind, 0, columns);
    for (size_t t = 0; t < kGroup; ++t) stakes[t] += more[t];
  }
  std::vector<float> sorted = stakes;
  std::sort(sorted.begin(), sorted.end());
  const float upper_quarter = sorted[kGroup * 3 / 4];
  const auto [spoiled, others] = noise.errors([&](size_t t) { return stakes[t] >= upper_quarter; });
  EXPECT_GT(spoiled, 0);
  EXPECT_LT(spoiled, 0.3 * others);
}

TEST(LiveForm, KnowsWhatIsAtStakeBetweenItsGrades) {
  const ModelShape shape = grouped_shape();
  const std::string both = "k: rotate|widths(delta=0.6,grades=2) ; v: widths(delta=0.6,grades=2)";
  const LiveForm form = form_of(shape, both);
  const Cells cells = session::generate_cells(shape, 0, kGroup, 5);
  KvBlock<float> block(shape, Space::cached, 0, kGroup);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      read_rows(RowsView((kind == Kind::key ? cells.keys : cells.values)[l].view()),
                block.of(kind)[l].view());
    }
  }
  const auto errors = [&](const char* delta) {
    const std::string text =
        fmt::format("k: rotate|widths(delta={0}) ; v: widths(delta={0})", delta);
    const auto made = session::fitted(shape, text).roundtrip(block, nullptr, nullptr).value();
    const auto back = convert<float>(made, shape, Space::cached);
    std::vector<double> of(kGroup);
    for (size_t t = 0; t < kGroup; ++t) {
      for (size_t c = 0; c < back.values[1].cols(); ++c) {
        of[t] += std::pow(double(back.values[1](t, c)) - block.values[1](t, c), 2);
      }
    }
    return of;
  };
  const auto fine = errors("0.3"), coarse = errors("0.6");
  const auto columns = form.columns(Kind::value, 1, block.values[1], 0).value();
  const std::vector<float> stakes = form.at_stake(Kind::value, 1, columns);
  double sum = 0, difference = 0;
  for (size_t t = 0; t < kGroup; ++t) {
    sum += coarse[t] - fine[t];
    difference += std::abs(stakes[t] - (coarse[t] - fine[t]));
  }
  EXPECT_GT(sum, 0);
  EXPECT_LT(difference, 3e-2 * sum);  // matrices are in half precision
}

TEST(LiveForm, IsOfBlocksThatAttentionCanRead) {
  const ModelShape shape = grouped_shape();
  const auto refused = [&](const std::string& text) {
    const auto form = LiveForm::of(session::fitted(shape, text));
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

TEST(LiveForm, HasABandOfHeadsThatShareColumns) {
  const LiveForm form = form_of(grouped_shape(3), kByTwo);
  const auto& bands = form.unit(Kind::key, 1).bands;
  ASSERT_EQ(bands.size(), 2u);
  EXPECT_EQ(bands[0].heads, 2u);
  EXPECT_EQ(bands[1].head, 2u);
  EXPECT_LE(bands[1].columns(), 64u);
  EXPECT_EQ(form.unit(Kind::value, 1).bands.size(), 1u);
}

TEST(LiveForm, CountsItsBits) {
  const LiveForm form = form_of(grouped_shape(),
                                "k: rotate|widths(delta=1e-6,most=4); "
                                "v: widths(delta=1e-6,most=2)");
  EXPECT_EQ(form.unit(Kind::key, 1).group_bytes, kGroup * 128 / 2);
  EXPECT_EQ(form.unit(Kind::value, 2).group_bytes, kGroup * 64 / 4);
  EXPECT_NEAR(form.bits_per_value(), (128 * 4 + 64 * 2) / 192.0, 1e-9);
}

}  // namespace
}  // namespace kvsplice::live
