// The container's promises: damage is noticed, and what a commit has written survives whatever
// happens to the next.
#include "session/session_file.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "core/file.h"
#include "session/generated_cells.h"

namespace kvsplice::session {
namespace {

using testing::HasSubstr;

SessionInfo small_info() {
  SessionInfo info;
  info.codec = "c0dec";
  info.pipeline = "klt | step | range";
  info.model = std::string(32, '7');
  info.layers = small_shape().layers;
  for (LayerShape& l : info.layers) l.rope = {};
  return info;
}

Bytes payload(size_t n, uint8_t seed) {
  Bytes bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>(seed + 31 * i);
  return bytes;
}

// Two records, committed one after the other.
void write_two(const std::string& path) {
  auto writer = SessionWriter::create(path, small_info()).value();
  ASSERT_TRUE(writer.add(RecordKind::exact, 4, payload(100, 1)).ok());
  ASSERT_TRUE(writer.commit({}).ok());
  ASSERT_TRUE(writer.add(RecordKind::coded, 200, payload(333, 2)).ok());
  const std::vector<int32_t> pending = {42};
  ASSERT_TRUE(writer.commit(pending).ok());
}

TEST(SessionFile, RecordsComeBack) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  const auto reader = SessionReader::open(file.path()).value();
  EXPECT_EQ(reader.info(), small_info());
  const auto& records = reader.index().records;
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].first, 4u);
  EXPECT_EQ(records[1].count, 200u);
  EXPECT_EQ(reader.read(records[0]).value(), payload(100, 1));
  EXPECT_EQ(reader.read(records[1]).value(), payload(333, 2));
  EXPECT_EQ(reader.index().pending, (std::vector<int32_t>{42}));
  EXPECT_EQ(reader.ignored_bytes(), 0u);
}

// Kill at any byte: the file is cut at every length an append passes through.
TEST(SessionFile, InterruptedAppendLeavesTheStateBefore) {
  const TemporaryFile file(".kvz"), cut(".cut");
  auto writer = SessionWriter::create(file.path(), small_info()).value();
  ASSERT_TRUE(writer.add(RecordKind::exact, 4, payload(100, 1)).ok());
  ASSERT_TRUE(writer.commit({}).ok());
  const size_t before = read_file(file.path())->size();
  ASSERT_TRUE(writer.add(RecordKind::coded, 9, payload(400, 2)).ok());
  ASSERT_TRUE(writer.commit({}).ok());
  const Bytes all = read_file(file.path()).value();
  for (size_t size = before; size < all.size(); ++size) {
    ASSERT_TRUE(write_file(cut.path(), ByteSpan(all).first(size)).ok());
    const auto reader = SessionReader::open(cut.path());
    ASSERT_TRUE(reader.ok()) << size << ": " << reader.error().message;
    ASSERT_EQ(reader->index().tokens(), 4u) << size;
    EXPECT_EQ(reader->ignored_bytes(), size - before);
    EXPECT_EQ(reader->read(reader->index().records[0]).value(), payload(100, 1));
  }
  // The next append takes the place of what was left.
  ASSERT_TRUE(write_file(cut.path(), ByteSpan(all).first(all.size() - 1)).ok());
  auto again = SessionWriter::extend(cut.path()).value();
  ASSERT_TRUE(again.add(RecordKind::coded, 1, payload(10, 3)).ok());
  ASSERT_TRUE(again.commit({}).ok());
  const auto reader = SessionReader::open(cut.path()).value();
  EXPECT_EQ(reader.index().tokens(), 5u);
  EXPECT_EQ(reader.ignored_bytes(), 0u);
}

TEST(SessionFile, TruncatedBeforeTheFirstCommitIsAnError) {
  const TemporaryFile file(".kvz"), cut(".cut");
  auto writer = SessionWriter::create(file.path(), small_info()).value();
  EXPECT_FALSE(std::filesystem::exists(file.path())) << "visible before it is whole";
  ASSERT_TRUE(writer.add(RecordKind::exact, 4, payload(50, 1)).ok());
  ASSERT_TRUE(writer.commit({}).ok());
  const Bytes all = read_file(file.path()).value();
  for (size_t size = 0; size < all.size(); ++size) {
    ASSERT_TRUE(write_file(cut.path(), ByteSpan(all).first(size)).ok());
    EXPECT_FALSE(SessionReader::open(cut.path()).ok()) << size;
  }
}

TEST(SessionFile, AFlippedBitIsNoticedWhereItIs) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  const Bytes good = read_file(file.path()).value();
  const auto records = SessionReader::open(file.path())->index().records;
  for (size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= uint8_t(1) << at % 8;
    const auto reader = SessionReader::open(view_source(bad), "damaged");
    if (!reader.ok()) continue;
    // The index is sound, this one or the one before: then a record or dead bytes were hit.
    for (const Record& r : reader->index().records) {
      const bool hit = at >= r.offset && at < r.end();
      EXPECT_EQ(reader->read(r).ok(), !hit) << at;
    }
    const bool dead = reader->index().records.size() == 2;
    EXPECT_TRUE(dead || reader->ignored_bytes() > 0) << at;
  }
}

RC_GTEST_PROP(SessionFile, RandomDamageNeverCrashes, ()) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  Bytes bytes = read_file(file.path()).value();
  const auto edits = *rc::gen::container<std::vector<std::pair<uint32_t, uint8_t>>>(
      rc::gen::arbitrary<std::pair<uint32_t, uint8_t>>());
  for (const auto& [at, value] : edits) bytes[at % bytes.size()] = value;
  bytes.resize(*rc::gen::inRange<size_t>(0, bytes.size() + 40));
  RC_ASSERT(write_file(file.path(), bytes).ok());
  const auto reader = SessionReader::open(file.path());
  if (!reader.ok()) return;
  for (const Record& r : reader->index().records) (void)reader->read(r).ok();
}

TEST(SessionFile, OneWriterAtATime) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  const auto first = SessionWriter::extend(file.path());
  ASSERT_TRUE(first.ok());
  const auto second = SessionWriter::extend(file.path());
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr("cannot lock"));
}

// A limit on the size of files stands for a disk without room.
TEST(SessionFile, AFullDiskIsAnErrorAndTheContentStays) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  auto writer = SessionWriter::extend(file.path()).value();
  const size_t size = read_file(file.path())->size();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{size + 50, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const auto added = writer.add(RecordKind::coded, 9, payload(400, 2));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(added.ok());
  EXPECT_EQ(added.error().kind, ErrorKind::io);
  // Now there would be room, but part of what was added is lost.
  EXPECT_THAT(writer.commit({}).error().message, HasSubstr("nothing can follow"));
  EXPECT_FALSE(writer.add(RecordKind::coded, 9, payload(40, 2)).ok());
  EXPECT_FALSE(writer.forget_from(4).ok());
  const auto reader = SessionReader::open(file.path()).value();
  EXPECT_EQ(reader.index().tokens(), 204u);
  EXPECT_EQ(reader.ignored_bytes(), 0u);
}

TEST(SessionFile, NothingIsCompactedUnderAWriter) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  const auto writer = SessionWriter::extend(file.path());
  ASSERT_TRUE(writer.ok());
  EXPECT_THAT(compact(file.path()).error().message, HasSubstr("another program writes"));
}

TEST(SessionFile, ASessionThatWasReplacedMeanwhileIsNotCommittedTo) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  auto writer = SessionWriter::extend(file.path()).value();
  ASSERT_TRUE(writer.add(RecordKind::exact, 7, payload(20, 9)).ok());
  const std::string other = file.path() + ".other";
  write_two(other);
  std::filesystem::rename(other, file.path());
  EXPECT_THAT(writer.commit({}).error().message, HasSubstr("replaced by another program"));
  EXPECT_EQ(SessionReader::open(file.path())->index().tokens(), 204u);
}

TEST(SessionFile, ACopyGoesOnWithoutTheOriginal) {
  const TemporaryFile file(".kvz"), copy(".kvz");
  write_two(file.path());
  const auto reader = SessionReader::open(file.path()).value();
  {
    auto writer = SessionWriter::continue_at(copy.path(), reader).value();
    ASSERT_TRUE(writer.forget_from(4).ok());
    ASSERT_TRUE(writer.add(RecordKind::exact, 7, payload(20, 9)).ok());
    ASSERT_TRUE(writer.commit({}).ok());
  }
  EXPECT_EQ(SessionReader::open(copy.path())->index().tokens(), 11u);
  EXPECT_EQ(SessionReader::open(file.path())->index().tokens(), 204u);

  auto writer = SessionWriter::continue_at(file.path(), reader).value();
  EXPECT_FALSE(SessionWriter::continue_at(file.path(), reader).ok()) << "one at a time";
  ASSERT_TRUE(writer.commit({}).ok());
  writer = SessionWriter::create(copy.path(), small_info()).value();  // lets the first go
  EXPECT_THAT(SessionWriter::continue_at(file.path(), reader).error().message,
              HasSubstr("was changed by another program"));
}

TEST(SessionFile, ANewerFormatIsUnsupportedNotDamaged) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  Bytes bytes = read_file(file.path()).value();
  bytes[10] = 3;  // the oldest version that reads it
  ASSERT_TRUE(write_file(file.path(), bytes).ok());
  const auto reader = SessionReader::open(file.path());
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(reader.error().message, HasSubstr("version 3"));
}

RecurrentState state_behind(size_t position) {
  RecurrentState state;
  state.position = position;
  state.model_layers = 5;
  for (const StatePart part : {StatePart::r, StatePart::s}) {
    state.rows.push_back({2, part, 0, payload(part == StatePart::r ? 12 : 40, 1)});
  }
  return state;
}

SessionInfo info_with_states() {
  SessionInfo info = small_info();
  info.format = kSecondFormat;
  return info;
}

// Records of 4 and 200 tokens, and states behind some of them.
void write_states(const std::string& path, std::initializer_list<size_t> positions) {
  auto writer = SessionWriter::create(path, info_with_states()).value();
  ASSERT_TRUE(writer.add(RecordKind::exact, 4, payload(100, 1)).ok());
  ASSERT_TRUE(writer.add(RecordKind::coded, 200, payload(333, 2)).ok());
  for (const size_t position : positions) {
    ASSERT_TRUE(writer.add(state_behind(position), StateEncoding::exact).ok());
  }
  const std::vector<int32_t> pending = {42};
  ASSERT_TRUE(writer.commit(pending).ok());
}

TEST(SessionFile, StatesComeBack) {
  const TemporaryFile file(".kvz");
  write_states(file.path(), {4, 100, 204});
  const auto reader = SessionReader::open(file.path()).value();
  EXPECT_EQ(reader.info(), info_with_states());
  EXPECT_EQ(reader.live_bytes(), reader.file_bytes());
  EXPECT_EQ(reader.state_positions(), (std::vector<size_t>{4, 100, 204}));
  EXPECT_EQ(reader.index().states[1].bytes, 52u);
  EXPECT_EQ(reader.index().pending, (std::vector<int32_t>{42}));
  for (const size_t position : {4, 100, 204}) {
    EXPECT_EQ(reader.read_state(position).value(), state_behind(position));
  }
  EXPECT_THAT(reader.read_state(5).error().message,
              HasSubstr("not behind token 5; stored: behind token 4, token 100, token 204"));
}

TEST(SessionFile, AFlippedBitInAStateIsNoticed) {
  const TemporaryFile file(".kvz");
  write_states(file.path(), {4, 204});
  const Bytes good = read_file(file.path()).value();
  const auto states = SessionReader::open(file.path())->index().states;
  for (size_t at = states[0].record.offset; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= uint8_t(1) << at % 8;
    const auto reader = SessionReader::open(view_source(bad), "damaged");
    if (!reader.ok()) continue;
    for (const StoredState& s : states) {
      const bool hit = at >= s.record.offset && at < s.record.end();
      EXPECT_EQ(reader->read_state(s.record.first).ok(), !hit) << at;
    }
  }
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(SessionReader::open(view_source(ByteSpan(good).first(size)), "cut").ok()) << size;
  }
}

TEST(SessionFile, StatesAreForgottenAndCompacted) {
  const TemporaryFile file(".kvz");
  write_states(file.path(), {4, 100, 204});
  {
    auto writer = SessionWriter::extend(file.path()).value();
    writer.forget_state(100);
    ASSERT_TRUE(writer.forget_from(4).ok());  // and with the tokens goes what is behind them
    ASSERT_TRUE(writer.add(RecordKind::exact, 7, payload(20, 9)).ok());
    ASSERT_TRUE(writer.commit({}).ok());
  }
  EXPECT_EQ(SessionReader::open(file.path())->state_positions(), (std::vector<size_t>{4}));
  ASSERT_TRUE(compact(file.path()).ok());
  const auto reader = SessionReader::open(file.path()).value();
  EXPECT_EQ(reader.live_bytes(), reader.file_bytes());
  EXPECT_EQ(reader.index().tokens(), 11u);
  EXPECT_EQ(reader.read_state(4).value(), state_behind(4));
}

TEST(SessionFile, StatesAscendAndNeedTheirFormat) {
  const TemporaryFile file(".kvz");
  auto old = SessionWriter::create(file.path(), small_info()).value();
  EXPECT_EQ(old.add(state_behind(4), StateEncoding::exact).error().kind, ErrorKind::usage);
  auto writer = SessionWriter::create(file.path() + "2", info_with_states()).value();
  ASSERT_TRUE(writer.add(state_behind(4), StateEncoding::exact).ok());
  EXPECT_FALSE(writer.add(state_behind(4), StateEncoding::exact).ok());
  EXPECT_FALSE(writer.add(state_behind(3), StateEncoding::exact).ok());
}

TEST(SessionFile, IndicesOfStatesAreHostile) {
  const SessionInfo info = info_with_states();
  Index index;
  index.records = {{RecordKind::exact, 100, 50, 0, 9}};
  const auto parsed = [&](uint64_t first, uint64_t offset, uint64_t length) {
    Index with = index;
    with.states = {{{RecordKind::state, 300, 20, 3, 0}, 20},
                   {{RecordKind::state, offset, length, size_t(first), 0}, 20}};
    return parse_index(write_index(with), info, 100, 1000);
  };
  EXPECT_TRUE(parsed(9, 352, 20).ok());
  EXPECT_FALSE(parsed(10, 352, 20).ok()) << "behind the last token";
  EXPECT_FALSE(parsed(3, 352, 20).ok()) << "not ascending";
  EXPECT_FALSE(parsed(9, 351, 20).ok()) << "inside the one before";
  EXPECT_FALSE(parsed(9, 990, 20).ok()) << "behind the index";
  EXPECT_FALSE(parsed(9, 352, uint64_t{1} << 63).ok());
  EXPECT_FALSE(parse_index(write_index(index), small_info(), 160, 1000).ok());
  ByteWriter many;  // more states than there are bytes
  many.put_bytes(write_index(index));
  many.put_varint(uint64_t{1} << 40);
  EXPECT_FALSE(parse_index(many.bytes(), info, 100, 1000).ok());
}

TEST(RecurrentStateTest, IsCodedToTheBitOrRounded) {
  RecurrentState state = state_behind(7);
  const std::vector<float> values = {1, -2.5f, 1e9f, 1.0f / 3};
  state.rows[1].data.resize(16);
  std::memcpy(state.rows[1].data.data(), values.data(), 16);
  state.rows[0].data.assign(12, 0);
  const Bytes exact = encode_state(state, StateEncoding::exact);
  EXPECT_EQ(decode_state(exact, 7).value(), state);
  const Bytes halves = encode_state(state, StateEncoding::f16);
  EXPECT_EQ(halves.size() + 14, exact.size());
  const RecurrentState rounded = decode_state(halves, 7).value();
  std::vector<float> back(4);
  std::memcpy(back.data(), rounded.rows[1].data.data(), 16);
  EXPECT_EQ(back[0], 1);
  EXPECT_EQ(back[1], -2.5f);
  EXPECT_EQ(back[2], 65504);
  EXPECT_NEAR(back[3], 1.0 / 3, 2e-4);
  for (const Bytes& bytes : {exact, halves}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(decode_state(ByteSpan(bytes).first(size), 7).ok()) << size;
    }
  }
}

TEST(RecurrentStateTest, IsKeptInEighthsWithinHalfAStep) {
  Random random(5);
  for (const size_t n : {0, 1, 31, 32, 33, 100}) {
    for (const double size : {1e-12, 3e-6, 1.0, 1e6}) {
      SCOPED_TRACE(testing::Message() << n << " of " << size);
      std::vector<float> values(n), back(n);
      for (float& v : values) v = float(size * random.normal());
      RecurrentState state = state_behind(7);
      state.rows.resize(2);
      state.rows[0].data.clear();
      state.rows[1].data.resize(4 * n);
      if (n > 0) std::memcpy(state.rows[1].data.data(), values.data(), 4 * n);
      const Bytes bytes = encode_state(state, StateEncoding::q8);
      EXPECT_LE(bytes.size(), n + 2 * ((n + 31) / 32) + 16);
      const RecurrentState met = decode_state(bytes, 7).value();
      ASSERT_EQ(met.rows[1].data.size(), 4 * n);
      if (n > 0) std::memcpy(back.data(), met.rows[1].data.data(), 4 * n);
      double error = 0, power = 0;
      for (size_t i = 0; i < n; ++i) {
        float most = 0;
        for (size_t j = i / 32 * 32; j < std::min(n, i / 32 * 32 + 32); ++j) {
          most = std::max(most, std::abs(values[j]));
        }
        // Scales of half precision are no finer than 2^-24.
        const double step = most / 127 * (1 + 0x1p-10) + 0x1p-24;
        EXPECT_LE(std::abs(back[i] - values[i]), 0.5001 * step) << i;
        error += std::pow(double(back[i]) - values[i], 2);
        power += std::pow(double(values[i]), 2);
      }
      if (n < 100 || size < 1) continue;
      EXPECT_LT(std::sqrt(error / power), 0.01);
      EXPECT_GT(std::sqrt(error / power), 0.002);
    }
  }
}

TEST(RecurrentStateTest, InEighthsDamagedIsRefused) {
  RecurrentState state = state_behind(7);
  state.rows[1].data.resize(4 * 40);
  const Bytes bytes = encode_state(state, StateEncoding::q8);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_state(ByteSpan(bytes).first(size), 7).ok()) << size;
  }
  ByteWriter scale_alone;
  for (const uint64_t number : {4, 1, 0, 1, 0, 2, 36}) scale_alone.put_varint(number);
  scale_alone.put_zeros(36);
  EXPECT_FALSE(decode_state(scale_alone.bytes(), 7).ok());
  ByteWriter of_halves;
  for (const uint64_t number : {4, 1, 0, 1, 1, 2, 34}) of_halves.put_varint(number);
  of_halves.put_zeros(34);
  EXPECT_FALSE(decode_state(of_halves.bytes(), 7).ok());
}

TEST(RecurrentStateTest, ThatIsNotFiniteIsNotKeptInEighths) {
  const TemporaryFile file(".kvz");
  RecurrentState state = state_behind(4);
  const float odd = std::numeric_limits<float>::infinity();
  state.rows[0].type = 0;
  state.rows[0].data.resize(sizeof odd);
  std::memcpy(state.rows[0].data.data(), &odd, sizeof odd);
  SessionInfo info = small_info();
  info.format = kSecondFormat;
  auto writer = SessionWriter::create(file.path(), info).value();
  EXPECT_EQ(writer.add(state, StateEncoding::q8).error().kind, ErrorKind::numeric);
  EXPECT_TRUE(writer.add(state, StateEncoding::f16).ok());
}

TEST(RecurrentStateTest, ManyPositionsAreListedShortly) {
  std::vector<size_t> positions;
  for (size_t i = 1; i <= 30; ++i) positions.push_back(10 * i);
  EXPECT_EQ(list_positions(std::span(positions).first(2)), "token 10, token 20");
  EXPECT_TRUE(list_positions(positions).ends_with("token 160, ..., token 300"));
}

TEST(SessionFile, CompactingKeepsRecordsAndDropsTheRest) {
  const TemporaryFile file(".kvz");
  write_two(file.path());
  {
    auto writer = SessionWriter::extend(file.path()).value();
    EXPECT_FALSE(writer.forget_from(5).ok());
    ASSERT_TRUE(writer.forget_from(4).ok());
    ASSERT_TRUE(writer.add(RecordKind::exact, 7, payload(20, 9)).ok());
    ASSERT_TRUE(writer.commit({}).ok());
  }
  namespace fs = std::filesystem;
  const auto mode = fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read;
  fs::permissions(file.path(), mode);
  const std::string link = file.path() + ".link";
  fs::create_symlink(file.path(), link);
  ASSERT_TRUE(compact(link).ok());
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(fs::status(file.path()).permissions(), mode);
  const auto reader = SessionReader::open(file.path()).value();
  EXPECT_EQ(reader.live_bytes(), reader.file_bytes());
  ASSERT_EQ(reader.index().records.size(), 2u);
  EXPECT_EQ(reader.read(reader.index().records[0]).value(), payload(100, 1));
  EXPECT_EQ(reader.read(reader.index().records[1]).value(), payload(20, 9));
}

}  // namespace
}  // namespace kvsplice::session
