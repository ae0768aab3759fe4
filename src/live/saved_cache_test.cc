// A live cache in a file goes on as if it had never been there; files that are not what they claim
// to be are refused.
#include "live/saved_cache.h"

#include <gmock/gmock.h>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "session/fitted_codec_test.h"

namespace kvsplice::live {
namespace {

using session::Cells;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr LiveOptions kOptions{3, 50};
constexpr size_t kTokens = 900, kMore = 300;

LiveForm form_of(const std::string& text) {
  return LiveForm::of(session::fitted(session::small_shape(), text)).value();
}

const LiveForm& form() {
  static const LiveForm made = form_of(
      "k: rotmean(rest=on)|rotate|klt|widths(delta=1,grades=4,spread=2); "
      "v: klt|widths(delta=1,grades=4,spread=2)");
  return made;
}

Matrix<float> rows(const Cells& cells, Kind kind, size_t layer, size_t first, size_t n) {
  const auto& all = kind == Kind::key ? cells.keys[layer] : cells.values[layer];
  Matrix<float> made(n, all.cols());
  read_rows(RowsView(all.view().row_range(first, n)), made.view());
  return made;
}

// What the newest of these tokens attend to, 30 at a time; every layer.
std::vector<float> append(std::vector<LayerCache>& layers, const Cells& cells, size_t first,
                          size_t n) {
  std::vector<float> seen;
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerShape& shape = form().shape().layers[l];
    for (size_t at = first; at < first + n; at += 30) {
      EXPECT_TRUE(
          layers[l]
              .append(rows(cells, Kind::key, l, at, 30), rows(cells, Kind::value, l, at, 30))
              .ok());
      const auto heads = size_t(form().shape().query_heads_of(int(l)));
      Random random(at);
      Matrix<float> queries(30, heads * size_t(shape.key_dim)),
          out(30, heads * size_t(shape.value_dim));
      for (float& q : queries.flat()) q = float(random.normal());
      layers[l].attend(queries, 0.2f, {}, out);
      seen.insert(seen.end(), out.flat().begin(), out.flat().end());
    }
  }
  return seen;
}

std::vector<int32_t> some_tokens(size_t n) {
  std::vector<int32_t> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = int32_t(i * 7 % 50);
  return tokens;
}

class Saved : public ::testing::Test {
 protected:
  Saved() {
    for (size_t l = 0; l < form().shape().layers.size(); ++l) {
      layers.emplace_back(form(), l, kOptions);
    }
    append(layers, cells, 0, kTokens);
    save(layers, some_tokens(kTokens + 2));
    bytes = read_file(path).value();
  }

  void save(std::span<const LayerCache> of, const std::vector<int32_t>& tokens) {
    const auto saved = save_cache(OutputFile::reserve(path).value(), form(), of, tokens);
    ASSERT_TRUE(saved.ok()) << saved.error().message;
  }
  static Result<SavedCache> open(Bytes from) {
    return SavedCache::open(memory_source(std::move(from)), "the file");
  }
  // What is said when it is opened, and all of it read.
  static std::string refusal(Bytes from, const LiveForm& by = form()) {
    const auto saved = open(std::move(from));
    if (!saved.ok()) return saved.error().message;
    const auto tokens = saved->tokens();
    if (!tokens.ok()) return tokens.error().message;
    const auto read = saved->layers(by);
    return read.ok() ? "taken" : read.error().message;
  }
  // The last layer's part, changed and sealed again.
  std::string refusal_of(const std::function<void(std::span<uint8_t> part)>& change) const {
    Bytes changed = bytes;
    const size_t last = form().shape().layers.size() - 1;
    const size_t size = size_t(open(bytes)->info().layer_bytes(last));
    const auto part = std::span(changed).last(size + 8).first(size);
    change(part);
    const uint64_t checksum = hash64(part);
    std::memcpy(&changed[changed.size() - 8], &checksum, 8);
    return refusal(changed);
  }

  const TemporaryFolder folder = TemporaryFolder::create("saved").value();
  const std::string path = folder.file("live.kvz");
  const Cells cells = session::generate_cells(session::small_shape(), 0, kTokens + kMore, 5);
  std::vector<LayerCache> layers;
  Bytes bytes;
};

TEST_F(Saved, GoesOnAsIfItHadNeverBeen) {
  const SavedCache saved = SavedCache::open(path).value();
  EXPECT_EQ(saved.info().cells(), kTokens);
  EXPECT_EQ(saved.info().groups, 3u);
  EXPECT_EQ(saved.info().waiting, 2u);
  EXPECT_EQ(saved.info().options, kOptions);
  EXPECT_EQ(saved.info().codec, form().codec());
  EXPECT_TRUE(saved.check().ok());
  EXPECT_EQ(saved.tokens().value(), some_tokens(kTokens + 2));
  auto read = saved.layers(form()).value();
  // By then groups have been coded whose tokens got attention before and after.
  EXPECT_EQ(append(read, cells, kTokens, kMore), append(layers, cells, kTokens, kMore));
  EXPECT_EQ(read[0].groups(), 4u);
  save(read, some_tokens(kTokens + kMore));
  const Bytes again = read_file(path).value();
  save(layers, some_tokens(kTokens + kMore));
  EXPECT_EQ(read_file(path).value(), again);
}

TEST_F(Saved, TakesTheBytesOfItsCells) {
  uint64_t coded = 0;
  for (const LayerCache& layer : layers) {
    coded += layer.bytes().exact;
    for (Kind kind : {Kind::key, Kind::value}) {
      coded += 3 * form().unit(kind, size_t(&layer - layers.data())).group_bytes;
    }
  }
  EXPECT_GT(bytes.size(), coded);
  EXPECT_LT(bytes.size(), coded + 3 * 256 * layers.size() + 4 * (kTokens + 2) + 300);
}

TEST_F(Saved, IsRefusedWhereverItIsDamaged) {
  ASSERT_EQ(refusal(bytes), "taken");
  for (size_t at = 0; at < bytes.size(); at += at < 600 ? 1 : 97) {
    Bytes damaged = bytes;
    damaged[at] ^= 0x10;
    EXPECT_NE(refusal(damaged), "taken") << at;
  }
  for (const size_t size : {size_t{0}, size_t{7}, size_t{15}, size_t{40}, bytes.size() / 2,
                            bytes.size() - 1, bytes.size() + 1}) {
    Bytes cut = bytes;
    cut.resize(size);
    EXPECT_THAT(refusal(cut), AnyOf(HasSubstr("not a saved live cache"), HasSubstr("truncated"),
                                    HasSubstr("by its header it has")))
        << size;
  }
}

TEST_F(Saved, IsRefusedIfItIsSealedButImpossible) {
  EXPECT_EQ(refusal_of([](auto) {}), "taken");
  EXPECT_THAT(refusal_of([](auto part) { part[1] = part[0]; }), HasSubstr("order of a group"));
  EXPECT_THAT(refusal_of([](auto part) { std::swap(part[0], part[1]); }),
              HasSubstr("order of a group"));
  const float negative = -1, none = NAN;
  for (const float bad : {negative, none}) {
    EXPECT_THAT(refusal_of([&](auto part) { std::memcpy(&part[part.size() - 4], &bad, 4); }),
                HasSubstr("attention of"));
  }
  EXPECT_THAT(refusal_of([&](auto part) {
                const uint16_t infinity = 0x7c00;
                std::memcpy(&part[part.size() - 4 * (kTokens - 3 * kGroup) - 2], &infinity, 2);
              }),
              HasSubstr("is not finite"));
}

TEST_F(Saved, IsOfOneCodecAndOneModel) {
  const LiveForm other = form_of("k: rotate|klt|widths(delta=1); v: klt|widths(delta=1)");
  EXPECT_THAT(refusal(bytes, other), HasSubstr("was made with the live codec"));
  ModelShape shape = session::small_shape();
  shape.fingerprint[0] ^= 1;
  const auto foreign =
      LiveForm::of(session::fitted(shape, "k: rotate|klt|widths(delta=1); v: klt|widths(delta=1)"));
  EXPECT_THAT(refusal(bytes, foreign.value()), HasSubstr("was made with model"));
}

}  // namespace
}  // namespace kvsplice::live
