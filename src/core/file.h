// Whole files: checked reads, and writes that either happen completely or leave what was there.
#pragma once

#include <filesystem>
#include <string_view>

#include "core/output_file.h"

namespace kvsplice {

// What has no size of its own, a pipe or a file of /proc, is read up to its end, or to this much.
constexpr uint64_t kMostStreamBytes = uint64_t(4) << 30;

// Anything that can be read; "-" is the standard input.
Result<Bytes> read_file(const std::filesystem::path& path, uint64_t most = UINT64_MAX);
// A byte order mark in front is dropped. Error format, naming the first bad byte, if not UTF-8.
Result<std::string> read_text(const std::filesystem::path& path, uint64_t most = UINT64_MAX);

Result<> write_file(OutputFile out, ByteSpan bytes);
Result<> write_file(const std::filesystem::path& path, ByteSpan bytes,
                    Readers readers = Readers::all);
Result<> write_text(OutputFile out, std::string_view text);
Result<> write_text(const std::filesystem::path& path, std::string_view text);

}  // namespace kvsplice
