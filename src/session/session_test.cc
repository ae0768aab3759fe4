// Sessions end to end on made-up cells: what is packed comes back, whole or in part, after appends,
// and nothing else does.
#include "session/session.h"

#include <gmock/gmock.h>

#include "core/file.h"
#include "core/threads.h"
#include "session/generated_cells.h"

namespace kvsplice::session {
namespace {

using testing::HasSubstr;

class Rows : public codec::RowSource {
 public:
  explicit Rows(codec::CacheBlock block) : block_(std::move(block)) {}
  std::span<const int32_t> tokens() const override { return block_.tokens; }
  std::span<const int32_t> positions() const override { return block_.positions; }
  Result<Matrix<float>> read(Kind kind, int layer) const override { return block_.of(kind)[layer]; }

 private:
  codec::CacheBlock block_;
};

codec::Codec fitted(const ModelShape& shape, const std::string& text) {
  auto codec = codec::Codec::create(codec::parse_codec(text).value(), shape).value();
  const Rows rows(to_block(generate_cells(shape, 0, 400, 99), shape));
  const auto done = codec.fit(rows, nullptr, {});
  EXPECT_TRUE(done.ok()) << done.error().message;
  return codec;
}

class SessionTest : public testing::Test {
 protected:
  SessionTest() : coder_{shape_, &codec_, nullptr}, lossless_{shape_, nullptr, nullptr} {}

  Cells cells(size_t first, size_t n) const { return slice(all_, first, n); }
  Session open(const Coder& coder) const {
    auto session = Session::open(file_.path(), coder);
    EXPECT_TRUE(session.ok()) << session.error().message;
    return std::move(session).value();
  }
  Cells read(const Coder& coder, size_t first, size_t n) const {
    return open(coder).read(first, n, {}).value();
  }

  const ModelShape shape_ = small_shape();
  const codec::Codec codec_ = fitted(shape_, "klt | step(delta=0.2) | range");
  const Coder coder_, lossless_;
  const Cells all_ = generate_cells(shape_, 0, 300, 1);
  const PackOptions options_{64, 4, 16};
  const TemporaryFile file_{".kvz"};
};

double relative_error(const Cells& a, const Cells& b) {
  double error = 0, power = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.of(kind).size(); ++l) {
      for (size_t i = 0; i < a.of(kind)[l].size(); ++i) {
        const double x = from_half(a.of(kind)[l].flat()[i]);
        error += std::pow(from_half(b.of(kind)[l].flat()[i]) - x, 2);
        power += x * x;
      }
    }
  }
  return std::sqrt(error / power);
}

TEST_F(SessionTest, LosslessIsLossless) {
  ASSERT_TRUE(pack(file_.path(), all_, {}, lossless_, options_, {}).ok());
  expect_equal(read(lossless_, 0, 300), all_);
  expect_equal(read(lossless_, 63, 130), cells(63, 130));
  expect_equal(read(lossless_, 299, 1), cells(299, 1));
  EXPECT_EQ(read(lossless_, 300, 0).count(), 0u);
  EXPECT_EQ(read_tokens(open(lossless_).file()).value(), all_.tokens);
}

// In one record, in several, on any number of threads, and cut and continued anywhere.
TEST_F(SessionTest, ACodecOfCellsIsLossless) {
  const codec::Codec exact = fitted(shape_, "exact(history=2) | range");
  const Coder coder{shape_, &exact, nullptr};
  Cells odd = all_;
  odd.keys[1](100, 7) = 0x8000;    // -0
  odd.keys[2](101, 8) = 0x7bff;    // the largest
  odd.values[0](102, 9) = 0x8001;  // the smallest, negative
  std::string first;
  for (int threads : {1, 2, 4}) {
    set_thread_count(threads);
    ASSERT_TRUE(pack(file_.path(), odd, {}, coder, options_, {}).ok());
    const Bytes bytes = read_file(file_.path()).value();
    const std::string now(bytes.begin(), bytes.end());
    if (first.empty()) first = now;
    EXPECT_TRUE(now == first) << threads << " threads";
    expect_equal(read(coder, 0, 300), odd);
    expect_equal(read(coder, 63, 130), slice(odd, 63, 130));
  }
  set_thread_count(2);
  const Session session = open(coder);
  for (const Record& r : session.file().index().records) EXPECT_EQ(r.kind, RecordKind::coded);
  ASSERT_TRUE(pack(file_.path(), slice(odd, 0, 90), {}, coder, options_, {}).ok());
  ASSERT_TRUE(extend(file_.path(), slice(odd, 90, 1), {}, coder, {}).ok());
  ASSERT_TRUE(extend(file_.path(), slice(odd, 91, 209), {}, coder, {}).ok());
  expect_equal(read(coder, 0, 300), odd);
  odd.values[2](9, 9) = 0x7c00;  // infinity
  EXPECT_FALSE(pack(file_.path(), odd, {}, coder, options_, {}).ok());
}

// Rows that depend on rows before them in their block: records are blocks, whatever they were cut
// from.
TEST_F(SessionTest, BlocksOfDependentRowsStandForThemselves) {
  const codec::Codec codec =
      fitted(shape_, "layers(history=1,embedding=off) | klt | step(delta=0.2,recall=64) | range");
  const Coder coder{shape_, &codec, nullptr};
  ASSERT_TRUE(pack(file_.path(), all_, {}, coder, options_, {}).ok());
  const Cells whole = read(coder, 0, 300);
  EXPECT_LT(relative_error(all_, whole), 0.2);
  EXPECT_GT(relative_error(all_, whole), 0.01);
  EXPECT_LT(relative_error(slice(whole, 100, 50), read(coder, 100, 50)), 1e-6);
  ASSERT_TRUE(pack(file_.path(), cells(0, 200), {}, coder, options_, {}).ok());
  ASSERT_TRUE(extend(file_.path(), cells(200, 100), {}, coder, {}).ok());
  EXPECT_LT(relative_error(all_, read(coder, 0, 300)), 0.2);
  EXPECT_LT(relative_error(slice(whole, 0, 180), read(coder, 0, 180)), 1e-6);
}

TEST_F(SessionTest, SinksAndWindowAreExactAndTheRestIsClose) {
  const std::vector<int32_t> pending = {7, 8};
  ASSERT_TRUE(pack(file_.path(), all_, pending, coder_, options_, {}).ok());
  const Session session = open(coder_);
  EXPECT_EQ(session.size(), 300u);
  EXPECT_EQ(session.file().index().pending, pending);
  expect_equal(session.read(0, 4, {}).value(), cells(0, 4));
  expect_equal(session.read(284, 16, {}).value(), cells(284, 16));
  const double error = relative_error(cells(4, 280), session.read(4, 280, {}).value());
  EXPECT_LT(error, 0.2);
  EXPECT_GT(error, 0.01) << "nothing was quantised";
  // Any range gives the same cells as the whole.
  expect_equal(session.read(50, 100, {}).value(), slice(session.read(0, 300, {}).value(), 50, 100));
}

TEST_F(SessionTest, ExtendedInStepsEqualsWhatEachStepCoded) {
  ASSERT_TRUE(pack(file_.path(), cells(0, 100), {}, coder_, options_, {}).ok());
  const Cells before = read(coder_, 0, 84);
  ASSERT_TRUE(extend(file_.path(), cells(100, 150), {}, coder_, {}).ok());
  ASSERT_TRUE(extend(file_.path(), cells(250, 50), {}, coder_, {}).ok());
  expect_equal(read(coder_, 0, 84), before);
  expect_equal(read(coder_, 284, 16), cells(284, 16));
  EXPECT_EQ(read(coder_, 0, 300).tokens, all_.tokens);
  EXPECT_LT(relative_error(all_, read(coder_, 0, 300)), 0.2);
  const Session session = open(coder_);
  for (const Record& r : session.file().index().records) {
    const bool edge = r.first < 4 || r.first >= 284;
    EXPECT_EQ(r.kind, edge ? RecordKind::exact : RecordKind::coded) << r.first;
  }
}

TEST_F(SessionTest, LosslessExtendsToTheSameCells) {
  ASSERT_TRUE(pack(file_.path(), cells(0, 10), {}, lossless_, options_, {}).ok());
  for (size_t at = 10; at < 300; at += 29) {
    ASSERT_TRUE(extend(file_.path(), cells(at, 29), {}, lossless_, {}).ok());
  }
  expect_equal(read(lossless_, 0, 300), all_);
}

TEST_F(SessionTest, ManyShortTurnsDoNotLetTheFileGrowWithoutBound) {
  const PackOptions wide{64, 4, 64};
  ASSERT_TRUE(pack(file_.path(), cells(0, 100), {}, coder_, wide, {}).ok());
  for (size_t at = 100; at < 300; at += 5) {
    ASSERT_TRUE(extend(file_.path(), cells(at, 5), {}, coder_, {}).ok());
  }
  const Session session = open(coder_);
  EXPECT_GE(2 * session.file().live_bytes(), session.file().file_bytes());
  expect_equal(session.read(236, 64, {}).value(), cells(236, 64));
}

TEST_F(SessionTest, EmptyAndTinySessions) {
  for (size_t n : {0, 1, 4, 5, 20, 21}) {
    ASSERT_TRUE(pack(file_.path(), cells(0, n), {}, coder_, options_, {}).ok());
    EXPECT_EQ(read(coder_, 0, n).tokens, cells(0, n).tokens);
    if (n <= 20) expect_equal(read(coder_, 0, n), cells(0, n));
  }
}

TEST_F(SessionTest, AnotherModelOrCodecIsNamed) {
  ASSERT_TRUE(pack(file_.path(), all_, {}, coder_, options_, {}).ok());
  const auto message = [&](const Coder& coder) {
    const auto session = Session::open(file_.path(), coder);
    EXPECT_FALSE(session.ok());
    EXPECT_EQ(session.error().kind, ErrorKind::mismatch);
    return session.error().message;
  };
  const codec::Codec other = fitted(shape_, "klt | step(delta=0.3) | range");
  EXPECT_THAT(message({shape_, &other, nullptr}), HasSubstr(codec_.fingerprint()));
  EXPECT_THAT(message(lossless_), HasSubstr("none was given"));
  ModelShape model = shape_;
  model.fingerprint[0] = '8';
  EXPECT_THAT(message({model, nullptr, nullptr}), HasSubstr(model.fingerprint));
  EXPECT_THAT(message({model, &codec_, nullptr}), HasSubstr("was fitted for model"));
}

TEST_F(SessionTest, WrongUseIsRefused) {
  EXPECT_FALSE(pack(file_.path(), cells(10, 20), {}, coder_, options_, {}).ok());
  EXPECT_FALSE(pack(file_.path(), all_, {}, coder_, {0, 4, 16}, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(file_.path()));
  ASSERT_TRUE(pack(file_.path(), cells(0, 50), {}, coder_, options_, {}).ok());
  EXPECT_FALSE(extend(file_.path(), cells(51, 10), {}, coder_, {}).ok());
  EXPECT_FALSE(open(coder_).read(0, 51, {}).ok());
  Cells thin = cells(50, 10);
  thin.values.pop_back();
  EXPECT_FALSE(extend(file_.path(), thin, {}, coder_, {}).ok());
  EXPECT_EQ(read(coder_, 0, 50).tokens, cells(0, 50).tokens);
}

TEST_F(SessionTest, NumbersThatNoReaderTakesAreRefused) {
  PackOptions options;
  for (size_t* number : {&options.sinks, &options.window}) {
    *number = limits::kTokens + 1;
    const auto packed = pack(file_.path(), cells(0, 20), {}, coder_, options, {});
    ASSERT_FALSE(packed.ok());
    EXPECT_EQ(packed.error().kind, ErrorKind::usage);
    EXPECT_THAT(packed.error().message, HasSubstr("legal: 0 ... 268435456"));
    *number = limits::kTokens;
    EXPECT_TRUE(pack(file_.path(), cells(0, 20), {}, coder_, options, {}).ok());
    EXPECT_TRUE(Session::open(file_.path(), coder_).ok());
  }
}

}  // namespace
}  // namespace kvsplice::session
