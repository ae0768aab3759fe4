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
  const TemporaryFile file(".kvz"), damaged(".bad");
  write_two(file.path());
  const Bytes good = read_file(file.path()).value();
  const auto records = SessionReader::open(file.path())->index().records;
  for (size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= uint8_t(1) << at % 8;
    ASSERT_TRUE(write_file(damaged.path(), bad).ok());
    const auto reader = SessionReader::open(damaged.path());
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
