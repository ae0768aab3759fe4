#include "core/file.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvsplice {

namespace {

// Bytes of the character that starts a span, or 0 if it is none: too short, overlong, a surrogate
// or above U+10FFFF (RFC 3629).
size_t utf8_length(ByteSpan bytes) {
  const uint8_t lead = bytes[0];
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((bytes[i] & 0xc0) != 0x80) return 0;
  }
  const uint8_t second = bytes[1];
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool no_character = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return overlong || no_character ? 0 : length;
}

size_t utf8_prefix(ByteSpan bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t length = utf8_length(bytes.subspan(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

Error too_large(const std::string& name, uint64_t most) {
  return {ErrorKind::io, fmt::format("{} has more than {} bytes", name, most)};
}

}  // namespace

Result<Bytes> read_file(const std::filesystem::path& path, uint64_t most) {
  const std::string name = path == "-" ? "standard input" : path.string();
  const Descriptor file(path == "-" ? os::standard_input() : os::open_file(path, os::Access::read));
  if (!file) return system_error("open", name);
  const auto state = os::state_of(file.get());
  if (!state) return system_error("read", name);
  // A size is a promise of regular files only, and files of /proc say 0.
  const bool sized = state->kind == os::FileKind::regular && state->size > 0;
  const uint64_t size = sized ? state->size : 0;
  if (!sized) most = std::min(most, kMostStreamBytes);
  if (size > most) return too_large(name, most);
  const uint64_t enough = most == UINT64_MAX ? most : most + 1;  // to see that it is too large
  Bytes bytes;
  for (uint64_t room = std::max<uint64_t>(size, 1 << 16);; room *= 2) {
    room = std::min(room, enough);
    const size_t had = bytes.size();
    bytes.resize(room);
    KVS_ASSIGN(const size_t n, read_up_to(file.get(), bytes.data() + had, room - had, name));
    bytes.resize(had + n);
    if (bytes.size() > most) return too_large(name, most);
    if (bytes.size() < room || bytes.size() == size) return bytes;
  }
}

Result<std::string> read_text(const std::filesystem::path& path, uint64_t most) {
  KVS_ASSIGN(const Bytes bytes, read_file(path, most));
  if (const size_t valid = utf8_prefix(bytes); valid < bytes.size()) {
    return Error{ErrorKind::format, fmt::format("{} is not UTF-8 text: byte {} is {:#04x}",
                                                path.string(), valid, bytes[valid])};
  }
  const std::string_view mark = "\xef\xbb\xbf";
  const bool marked =
      bytes.size() >= 3 && std::equal(mark.begin(), mark.end(), bytes.begin(),
                                      [](char a, uint8_t b) { return uint8_t(a) == b; });
  return std::string(bytes.begin() + (marked ? 3 : 0), bytes.end());
}

Result<> write_file(OutputFile out, ByteSpan bytes) {
  KVS_TRY(write_all(out.fd(), bytes, out.path()));
  return out.publish();
}

Result<> write_file(const std::filesystem::path& path, ByteSpan bytes, Readers readers) {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path.string(), readers));
  return write_file(std::move(out), bytes);
}

Result<> write_text(OutputFile out, std::string_view text) {
  return write_file(std::move(out), {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Result<> write_text(const std::filesystem::path& path, std::string_view text) {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path.string()));
  return write_text(std::move(out), text);
}

}  // namespace kvsplice
