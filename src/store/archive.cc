#include "store/archive.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/errors.h"
#include "store/object.h"

namespace kvsplice::store {

namespace {

constexpr std::array<uint8_t, 8> kMagic = {'k', 'v', 's', '-', 'o', 'b', 'j', 's'};
constexpr uint32_t kVersion = 1;
constexpr size_t kKey = 16;  // digits of a fingerprint
constexpr size_t kFront = kMagic.size() + sizeof kVersion + kKey;

template <class T>
Result<> write_number(DiskFile& file, T number) {
  ByteWriter out;
  out.put(number);
  return file.write(file.size(), out.bytes());
}

Result<uint64_t> read_number(const DiskFile& file, uint64_t at) {
  KVS_ASSIGN(const Bytes bytes, file.read(at, sizeof(uint64_t)));
  return ByteReader(bytes).get<uint64_t>();
}

}  // namespace

Result<ArchiveWriter> ArchiveWriter::begin(OutputFile output, const std::string& key) {
  ArchiveWriter writer(DiskFile::replace(std::move(output)));
  KVS_TRY(writer.write(kMagic));
  KVS_TRY(write_number(writer.file_, kVersion));
  KVS_TRY(writer.write({reinterpret_cast<const uint8_t*>(key.data()), key.size()}));
  return writer;
}

Result<> ArchiveWriter::add(ByteSpan sealed) {
  KVS_TRY(write_number(file_, uint64_t{sealed.size()}));
  ++objects_;
  return write(sealed);
}

Result<uint64_t> ArchiveWriter::finish() {
  KVS_TRY(write_number(file_, uint64_t{0}));
  KVS_TRY(write_number(file_, objects_));
  KVS_TRY(file_.publish());
  return objects_;
}

Result<ArchiveReader> ArchiveReader::open(const std::string& path) {
  KVS_ASSIGN(DiskFile file, DiskFile::open(path));
  ArchiveReader reader(std::move(file));
  const auto loaded = reader.load();
  if (loaded.ok()) return reader;
  const bool named = loaded.error().message.find(path) != std::string::npos;
  return named ? loaded.error() : within(path, loaded.error());
}

Result<> ArchiveReader::load() {
  KVS_ASSIGN(const Bytes front, file_.read(0, std::min<uint64_t>(file_.size(), kFront)));
  ByteReader in(front);
  if (front.size() < kFront || !std::equal(kMagic.begin(), kMagic.end(), front.begin())) {
    return format_error("no archive of objects of a store");
  }
  KVS_TRY(in.take(kMagic.size()));
  KVS_ASSIGN(const uint32_t version, in.get<uint32_t>());
  if (version != kVersion) {
    return format_error(
        fmt::format("an archive of version {}; this program reads {}", version, kVersion));
  }
  KVS_ASSIGN(const ByteSpan key, in.take(kKey));
  key_.assign(key.begin(), key.end());
  uint64_t at = kFront;
  for (;;) {
    KVS_ASSIGN(const uint64_t bytes, read_number(file_, at));
    at += sizeof bytes;
    if (bytes == 0) break;
    // Also keeps the list short beside the file.
    if (bytes < kHeadBytes || bytes > file_.size() - at) {
      return format_error(
          fmt::format("an object of {} bytes at byte {} of {}", bytes, at, file_.size()));
    }
    objects_.push_back({at, bytes});
    at += bytes;
  }
  KVS_ASSIGN(const uint64_t objects, read_number(file_, at));
  if (objects == objects_.size()) return {};
  return format_error(fmt::format("{} objects, where {} are claimed", objects_.size(), objects));
}

Result<Bytes> ArchiveReader::read(size_t object, uint64_t most) const {
  const Piece& piece = objects_[object];
  return file_.read(piece.offset, std::min(piece.bytes, most));
}

}  // namespace kvsplice::store
