// Whole files: checked reads, and writes that either happen completely or leave what was there.
#pragma once

#include <filesystem>
#include <string_view>

#include "core/bytes.h"

namespace kvsplice {

Result<Bytes> read_file(const std::filesystem::path& path);
// Error format, naming the first bad byte, if it is not UTF-8.
Result<std::string> read_text(const std::filesystem::path& path);

// Writes to a temporary beside `path`, flushes it to the disk and renames it.
Result<> write_file(const std::filesystem::path& path, ByteSpan bytes);
Result<> write_text(const std::filesystem::path& path, std::string_view text);

}  // namespace kvsplice
