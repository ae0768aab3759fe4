// Sessions end to end on made-up cells: what is packed comes back, whole or in part, after appends,
// and nothing else does.
#include "session/session.h"

#include <gmock/gmock.h>

#include "core/file.h"
#include "core/threads.h"
#include "session/fitted_codec_test.h"

namespace kvsplice::session {
namespace {

using testing::HasSubstr;

class SessionTest : public testing::Test {
 protected:
  SessionTest() : coder_{shape_, &codec_, nullptr}, lossless_{shape_, nullptr, nullptr} {}

  KvView cells(size_t first, size_t n) const { return all_.view().slice(first, n); }
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

double relative_error(const KvView& a, const KvView& b) {
  double error = 0, power = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < a.of(kind).size(); ++l) {
      const auto from = all_rows<float>(a, kind, l), to = all_rows<float>(b, kind, l);
      for (size_t i = 0; i < from.size(); ++i) {
        error += std::pow(double(to.flat()[i]) - from.flat()[i], 2);
        power += double(from.flat()[i]) * from.flat()[i];
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
    expect_equal(read(coder, 63, 130), odd.view().slice(63, 130));
  }
  set_thread_count(2);
  const Session session = open(coder);
  for (const Record& r : session.file().index().records) EXPECT_EQ(r.kind, RecordKind::coded);
  ASSERT_TRUE(pack(file_.path(), odd.view().slice(0, 90), {}, coder, options_, {}).ok());
  ASSERT_TRUE(extend(file_.path(), odd.view().slice(90, 1), {}, coder, {}).ok());
  ASSERT_TRUE(extend(file_.path(), odd.view().slice(91, 209), {}, coder, {}).ok());
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
  EXPECT_LT(relative_error(whole.view().slice(100, 50), read(coder, 100, 50)), 1e-6);
  ASSERT_TRUE(pack(file_.path(), cells(0, 200), {}, coder, options_, {}).ok());
  ASSERT_TRUE(extend(file_.path(), cells(200, 100), {}, coder, {}).ok());
  EXPECT_LT(relative_error(all_, read(coder, 0, 300)), 0.2);
  EXPECT_LT(relative_error(whole.view().slice(0, 180), read(coder, 0, 180)), 1e-6);
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
  const Cells whole = session.read(0, 300, {}).value();
  expect_equal(session.read(50, 100, {}).value(), whole.view().slice(50, 100));
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
    EXPECT_TRUE(std::ranges::equal(read(coder_, 0, n).tokens, cells(0, n).tokens));
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
  const auto refused = [&](const auto& change) {
    KvView odd = cells(50, 10);
    change(odd);
    const auto done = extend(file_.path(), odd, {}, coder_, {});
    return done.ok() ? std::string() : done.error().message;
  };
  EXPECT_THAT(refused([](KvView& v) { v.values.pop_back(); }), HasSubstr("2 value layers"));
  EXPECT_THAT(refused([](KvView& v) { v.space = Space::raw; }), HasSubstr("after RoPE"));
  EXPECT_THAT(refused([](KvView& v) { v.keys[1].rows = 9; }), HasSubstr("are 9 x 128"));
  EXPECT_THAT(refused([](KvView& v) { v.absent = 11; }), HasSubstr("11 of 10"));
  std::vector<int32_t> positions(10, 50);
  EXPECT_THAT(refused([&](KvView& v) { v.positions = positions; }), HasSubstr("follow each other"));
  EXPECT_TRUE(std::ranges::equal(read(coder_, 0, 50).tokens, cells(0, 50).tokens));
}

// Rows that lie with the values of a column together, as llama.cpp holds values without flash
// attention, and are read back to such a place.
TEST_F(SessionTest, RowsAreReadFromAndPutToAnyPlace) {
  Cells turned = all_;
  KvView view = turned;
  for (size_t l = 0; l < view.values.size(); ++l) {
    const size_t n = all_.values[l].rows(), width = all_.values[l].cols();
    RowsView& rows = view.values[l];
    rows.row_stride = 1;
    rows.col_stride = static_cast<ptrdiff_t>(n);
    write_rows(all_.values[l].view(),
               RowsPlace(turned.values[l].data(), n, width, 1, static_cast<ptrdiff_t>(n)));
  }
  for (const Coder* coder : {&lossless_, &coder_}) {
    ASSERT_TRUE(pack(file_.path(), all_, {}, *coder, options_, {}).ok());
    const Bytes straight = read_file(file_.path()).value();
    ASSERT_TRUE(pack(file_.path(), view, {}, *coder, options_, {}).ok());
    EXPECT_TRUE(read_file(file_.path()).value() == straight);
    const Cells wanted = read(*coder, 30, 200);
    Cells met = no_cells(shape_, 30, 200);
    KvPlace to = place_of(met, 200);
    for (RowsPlace& rows : to.values) rows.row_stride = 1, rows.col_stride = 200;
    ASSERT_TRUE(open(*coder).read(30, 200, to, {}).ok());
    EXPECT_EQ(met.keys, wanted.keys);
    EXPECT_EQ(met.values[2].flat()[200 * 5 + 77], wanted.values[2](77, 5));
  }
  const Session session = open(coder_);
  EXPECT_EQ(session.outline(30, 200)->tokens, read(coder_, 30, 200).tokens);
  EXPECT_EQ(session.outline(30, 200)->absent, 0u);
  EXPECT_FALSE(session.outline(30, 271).ok());
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
