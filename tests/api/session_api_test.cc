// Sessions through the C interface: golden ones read, new ones packed, extended and read in parts.
#include <atomic>
#include <fstream>
#include <limits>
#include <numeric>

#include "core/file.h"
#include "golden_case.h"

namespace kvsplice::api {
namespace {

class EverySession : public testing::TestWithParam<const char*> {
 protected:
  static std::optional<Codec> codec_of(const GoldenCase& golden) {
    return golden.has_codec() ? std::optional<Codec>(golden.codec()) : std::nullopt;
  }

  void expect_rows(BlockInMemory& place, size_t first, kvs_element element) const {
    const size_t n = place.block().count;
    const size_t absent = size_t(golden_.column("absent").at(0));
    const size_t skipped = absent - std::min(absent, first);  // within the part
    EXPECT_EQ(place.block().absent, std::min(n, skipped));
    const bool exact = !codec_ || codec_->is_lossless();
    const double relative = element == KVS_BF16 ? 0x1p-8 : exact ? 0 : 0x1p-10;
    for (size_t l = 0; l < place.layers(); ++l) {
      const size_t from = session_.layer(int(l)).window > 0 ? place.block().absent : 0;
      for (Kind kind : {Kind::key, Kind::value}) {
        SCOPED_TRACE(unit_name(kind, l));
        if (from == n) {
          EXPECT_TRUE(place.rows(kind, l).untouched());
          continue;
        }
        const Matrix<float> all = golden_.cells(kind, l), met = place.rows(kind, l).get();
        expect_close(copy(met.view().row_range(from, n - from)),
                     copy(all.view().row_range(first + from, n - from)),
                     exact ? 0 : 1e-5 * rms(all) + 0x1p-24, relative);
      }
    }
  }

  const GoldenCase golden_{GetParam()};
  const std::optional<Codec> codec_ = codec_of(golden_);
  const kvs_embeddings embeddings_ = golden_.embeddings();
  const Session session_ =
      std::move(Session::open(golden_.session_path(), codec_ ? &*codec_ : nullptr, &embeddings_))
          .value();
};

TEST_P(EverySession, GivesItsTokens) {
  std::vector<int32_t> wanted(golden_.tokens().begin(), golden_.tokens().end());
  EXPECT_EQ(session_.size(), wanted.size());
  const std::vector<int32_t> pending = golden_.column("pending");
  EXPECT_EQ(session_.pending(), pending.size());
  wanted.insert(wanted.end(), pending.begin(), pending.end());
  EXPECT_EQ(session_.tokens().value(), wanted);
  std::vector<int32_t> part(wanted.size() - 5);
  ASSERT_EQ(kvs_session_tokens(session_.c(), 5, part.size(), part.data(), nullptr), KVS_OK);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), wanted.begin() + 5));
  EXPECT_EQ(session_.model(), std::string(32, '0'));
  EXPECT_EQ(session_.codec(), codec_ ? codec_->fingerprint() : "");
}

TEST_P(EverySession, GivesItsRowsToPlacesOfEveryKind) {
  for (const kvs_element element : kElements) {
    for (const Layout layout : kLayouts) {
      SCOPED_TRACE(testing::Message() << "element " << element << ", layout " << int(layout));
      BlockInMemory place(session_, session_.size(), element, layout);
      place.block().space = KVS_CACHED;
      const auto done = session_.read(0, place.block());
      ASSERT_TRUE(done.ok()) << done.error().message;
      expect_rows(place, 0, element);
    }
  }
}

TEST_P(EverySession, GivesParts) {
  for (const auto& [first, n] :
       {std::pair<size_t, size_t>{0, 5}, {3, 20}, {17, 9}, {31, 1}, {7, 0}}) {
    for (const kvs_element element : {KVS_F32, KVS_F16}) {
      SCOPED_TRACE(testing::Message() << n << " from " << first << ", element " << element);
      BlockInMemory place(session_, n, element);
      place.block().space = KVS_CACHED;
      const auto done = session_.read(first, place.block());
      ASSERT_TRUE(done.ok()) << done.error().message;
      if (n > 0) expect_rows(place, first, element);
    }
  }
}

std::string case_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Golden, EverySession,
                         testing::Values("lossless", "lossless-sliding", "lossless-turns",
                                         "default", "default-sliding", "default-turns", "klt",
                                         "klt-model", "exact-sliding"),
                         case_name);

struct Source {
  Bytes bytes;
  size_t fails_from = SIZE_MAX;  // number of the call
  std::atomic<size_t> calls = 0;

  static int read(void* user, uint64_t offset, void* out, size_t n) {
    auto& self = *static_cast<Source*>(user);
    if (self.calls++ >= self.fails_from || offset + n > self.bytes.size()) return 1;
    std::memcpy(out, self.bytes.data() + offset, n);
    return 0;
  }
  kvs_source lent() { return {this, bytes.size(), read}; }
};

TEST_P(EverySession, IsTheSameFromBytesAndFromACallersSource) {
  const Codec* codec = codec_ ? &*codec_ : nullptr;
  Source source{read_file(golden_.session_path()).value()};
  for (const auto& session : {Session::open(source.bytes, codec, &embeddings_),
                              Session::open(source.lent(), codec, &embeddings_)}) {
    ASSERT_TRUE(session.ok()) << session.error().message;
    EXPECT_EQ(session->tokens().value(), session_.tokens().value());
    BlockInMemory place(*session, session->size(), KVS_F32);
    place.block().space = KVS_CACHED;
    ASSERT_TRUE(session->read(0, place.block()).ok());
    expect_rows(place, 0, KVS_F32);
  }
}

// Whatever the number of the call that fails: an error, and then all is well again.
TEST_P(EverySession, OutlivesASourceThatFails) {
  const Codec* codec = codec_ ? &*codec_ : nullptr;
  Source source{read_file(golden_.session_path()).value()};
  for (source.fails_from = 0; source.fails_from < 4; ++source.fails_from) {
    source.calls = 0;
    expect_error(Session::open(source.lent(), codec, &embeddings_), ErrorKind::io,
                 "the caller could not read");
    if (source.calls < source.fails_from) break;
  }
}

// Or is what it was before it was extended.
TEST_P(EverySession, IsRefusedIfItIsCut) {
  const Codec* codec = codec_ ? &*codec_ : nullptr;
  const Bytes bytes = read_file(golden_.session_path()).value();
  for (size_t n = 1; n < bytes.size(); n += 1 + n / 7) {
    const Bytes cut(bytes.begin(), bytes.begin() + ptrdiff_t(n));
    const auto session = Session::open(cut, codec, &embeddings_);
    if (session.ok()) {
      EXPECT_LT(session->size() + session->pending(), session_.size() + session_.pending()) << n;
    } else {
      expect_error(session, ErrorKind::format, "the session: ");
    }
    Source source{bytes};
    source.bytes.resize(n);
    kvs_source lying = source.lent();
    lying.size = bytes.size();
    EXPECT_FALSE(Session::open(lying, codec, &embeddings_).ok()) << n;
  }
}

// New sessions of the cells of golden ones, at positions 0, 1, ...
class NewSession : public InFolder {
 protected:
  static constexpr size_t kCount = 32;

  NewSession() { std::iota(positions_.begin(), positions_.end(), 0); }

  // Cells [first, first + n) of the case.
  void describe(const GoldenCase& of, size_t first, size_t n, BlockInMemory& block) const {
    for (size_t l = 0; l < block.layers(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) {
        const Matrix<float> all = of.cells(kind, l);
        block.rows(kind, l).set(copy(all.view().row_range(first, n)));
      }
    }
    block.of(of.tokens().subspan(first, n), std::span(positions_).subspan(first, n), KVS_CACHED);
  }

  static Matrix<float> read(const Session& session, Kind kind, size_t layer) {
    BlockInMemory place(session, session.size(), KVS_F32);
    place.block().space = KVS_CACHED;
    const auto done = session.read(0, place.block());
    EXPECT_TRUE(done.ok()) << done.error().message;
    return place.rows(kind, layer).get();
  }

  static kvs_model model_of(const Session& session, std::vector<kvs_layer>& layers) {
    for (int l = 0; l < session.layers(); ++l) layers.push_back(session.layer(l));
    return {"a model", "made up", nullptr, int(layers.size()), layers.data(), nullptr};
  }

  std::vector<int32_t> positions_ = std::vector<int32_t>(kCount);
  const std::string path_ = folder_.file("new.kvz");
  kvs_error error_{};
};

TEST_F(NewSession, WithoutACodecKeepsEveryBit) {
  const GoldenCase golden("lossless-turns");
  const Session old = std::move(Session::open(golden.session_path(), nullptr)).value();
  std::vector<kvs_layer> layers;
  const kvs_model model = model_of(old, layers);
  const int32_t pending[] = {5, 6};
  for (const Layout layout : kLayouts) {
    SCOPED_TRACE(int(layout));
    BlockInMemory first(old, 20, KVS_F16, layout), more(old, 12, KVS_F16, layout);
    describe(golden, 0, 20, first);
    describe(golden, 20, 12, more);
    ASSERT_EQ(kvs_session_pack(path_.c_str(), &first.block(), nullptr, 0, nullptr, &model, nullptr,
                               nullptr, nullptr, &error_),
              KVS_OK)
        << error_.message;
    ASSERT_EQ(kvs_session_extend(path_.c_str(), &more.block(), pending, 2, nullptr, nullptr,
                                 nullptr, &error_),
              KVS_OK)
        << error_.message;
    const auto session = Session::open(path_, nullptr);
    ASSERT_TRUE(session.ok()) << session.error().message;
    EXPECT_EQ(session->size(), kCount);
    EXPECT_EQ(session->tokens()->back(), 6);
    EXPECT_EQ(session->model(), "a model");
    for (size_t l = 0; l < layers.size(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) {
        EXPECT_EQ(read(*session, kind, l), golden.cells(kind, l)) << unit_name(kind, l);
      }
    }
  }
}

TEST_F(NewSession, WithACodecKeepsSinksAndWindow) {
  const GoldenCase golden("lossless");
  const Codec codec = GoldenCase("uniform").codec();  // of the same model; it keeps two bits
  BlockInMemory block(codec, kCount, KVS_F16);
  describe(golden, 0, kCount, block);
  const kvs_pack_options options{8, 3, 5};
  ASSERT_EQ(kvs_session_pack(path_.c_str(), &block.block(), nullptr, 0, codec.c(), nullptr, nullptr,
                             &options, nullptr, &error_),
            KVS_OK)
      << error_.message;
  const auto session = Session::open(path_, &codec);
  ASSERT_TRUE(session.ok()) << session.error().message;
  EXPECT_EQ(session->codec(), codec.fingerprint());
  const Matrix<float> wanted = block.rows(Kind::value, 0).get();
  const Matrix<float> met = read(*session, Kind::value, 0);
  size_t exact = 0;
  for (size_t r = 0; r < kCount; ++r) exact += std::ranges::equal(met.row(r), wanted.row(r));
  EXPECT_TRUE(std::ranges::equal(met.row(2), wanted.row(2)));
  EXPECT_TRUE(std::ranges::equal(met.row(kCount - 5), wanted.row(kCount - 5)));
  EXPECT_EQ(exact, 8u);
  expect_close(met, wanted, 2 * rms(wanted));
}

TEST_F(NewSession, GoesToMemoryAndToACallersOutput) {
  const GoldenCase golden("klt");
  const Codec codec = golden.codec();
  BlockInMemory block(codec, kCount, KVS_F16);
  describe(golden, 0, kCount, block);
  const int32_t pending[] = {5};
  ASSERT_EQ(kvs_session_pack(path_.c_str(), &block.block(), pending, 1, codec.c(), nullptr, nullptr,
                             nullptr, nullptr, &error_),
            KVS_OK)
      << error_.message;
  const Bytes wanted = read_file(path_).value();
  const auto packed = Session::pack(block.block(), pending, &codec);
  ASSERT_TRUE(packed.ok()) << packed.error().message;
  EXPECT_TRUE(std::ranges::equal(packed->bytes(), wanted));

  struct Output {
    Bytes bytes;
    int pieces = 0, most = 1000;
    static int write(void* user, const void* piece, size_t n) {
      auto& self = *static_cast<Output*>(user);
      const auto* from = static_cast<const uint8_t*>(piece);
      self.bytes.insert(self.bytes.end(), from, from + n);
      return ++self.pieces > self.most;
    }
  } output;
  const kvs_output lent{&output, Output::write};
  const auto pack = [&] {
    output.bytes.clear();
    output.pieces = 0;
    return kvs_session_pack_output(&lent, &block.block(), pending, 1, codec.c(), nullptr, nullptr,
                                   nullptr, nullptr, &error_);
  };
  ASSERT_EQ(pack(), KVS_OK) << error_.message;
  EXPECT_EQ(output.bytes, wanted);
  const int pieces = output.pieces;
  EXPECT_GT(pieces, 2);
  for (output.most = 0; output.most < pieces; ++output.most) {
    EXPECT_EQ(pack(), KVS_ERROR_IO) << output.most;
    EXPECT_NE(std::string(error_.message).find("could not write"), std::string::npos);
    EXPECT_FALSE(Session::open(Bytes(output.bytes.begin(), output.bytes.end() - 1), &codec).ok());
  }
}

// Floats that are halves give the same file; others are rounded, or refused where nothing is lost.
TEST_F(NewSession, TakesFloatsRounded) {
  const GoldenCase golden("klt");
  const Codec codec = golden.codec();
  const Session old = std::move(Session::open(golden.session_path(), &codec)).value();
  std::vector<kvs_layer> layers;
  const kvs_model model = model_of(old, layers);
  BlockInMemory halves(codec, kCount, KVS_F16), floats(codec, kCount, KVS_F32);
  describe(golden, 0, kCount, halves);
  describe(golden, 0, kCount, floats);
  const kvs_pack_options all_exact{0, kCount, 0};
  const auto pack = [&](BlockInMemory& block, const Codec* with) {
    return Session::pack(block.block(), {}, with, &model, nullptr, &all_exact);
  };
  for (const Codec* with : {(const Codec*)nullptr, &codec}) {
    const auto a = pack(halves, with), b = pack(floats, with);
    ASSERT_TRUE(b.ok()) << b.error().message;
    EXPECT_TRUE(std::ranges::equal(a->bytes(), b->bytes()));
  }
  const auto set = [&](float value) {
    Matrix<float> rows = floats.rows(Kind::value, 1).get();
    rows(7, 3) = value;
    floats.rows(Kind::value, 1).set(rows);
  };
  set(1.0001f);
  expect_error(pack(floats, nullptr), ErrorKind::numeric,
               "value 3 of the values of layer 1 at position 7 is no f16");
  const auto rounded = pack(floats, &codec);
  ASSERT_TRUE(rounded.ok()) << rounded.error().message;
  const auto session = Session::open(rounded->bytes(), &codec);
  EXPECT_EQ(read(*session, Kind::value, 1)(7, 3), 1.f);
  for (const float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    set(odd);
    for (const Codec* with : {(const Codec*)nullptr, &codec}) {
      expect_error(pack(floats, with), ErrorKind::numeric, "infinite or not a number");
    }
  }
}

TEST_F(NewSession, OutlivesTheCodecItWasOpenedWith) {
  const GoldenCase golden("klt");
  std::optional<Codec> codec = golden.codec();
  const Session session = std::move(Session::open(golden.session_path(), &*codec)).value();
  codec.reset();
  const Matrix<float> wanted = golden.cells(Kind::key, 0);
  expect_close(read(session, Kind::key, 0), wanted, 1e-5 * rms(wanted), 0x1p-10);
}

TEST_F(NewSession, OfAnotherCodecIsRefused) {
  const Codec other = GoldenCase("dct").codec();
  expect_error(Session::open(golden_path("klt.kvz"), &other), ErrorKind::mismatch,
               "the one given is " + other.fingerprint());
  expect_error(Session::open(golden_path("klt.kvz"), nullptr), ErrorKind::mismatch,
               "none was given");
}

TEST_F(NewSession, MustFollowWhatIsThere) {
  const GoldenCase golden("klt");
  const Codec codec = golden.codec();
  BlockInMemory later(codec, 8, KVS_F16);
  describe(golden, 8, 8, later);
  EXPECT_EQ(kvs_session_pack(path_.c_str(), &later.block(), nullptr, 0, codec.c(), nullptr, nullptr,
                             nullptr, nullptr, &error_),
            KVS_ERROR_USAGE);
  EXPECT_NE(std::string(error_.message).find("begins at position 0"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_));

  std::filesystem::copy_file(golden.session_path(), path_);
  EXPECT_EQ(kvs_session_extend(path_.c_str(), &later.block(), nullptr, 0, codec.c(), nullptr,
                               nullptr, &error_),
            KVS_ERROR_USAGE);
  EXPECT_NE(std::string(error_.message).find("cannot follow"), std::string::npos);
}

}  // namespace
}  // namespace kvsplice::api
