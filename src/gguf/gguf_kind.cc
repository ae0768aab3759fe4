#include "gguf/gguf_kind.h"

#include "core/memory.h"
#include "gguf/metadata.h"

namespace kvsplice::gguf {

Result<std::string> kind_of_gguf(const std::string& path) {
  return within_memory([&]() -> Result<std::string> {
    KVS_ASSIGN(auto source, file_source(path));
    KVS_ASSIGN(const Metadata metadata, Metadata::read(std::move(source), path));
    const auto kind = metadata.text("kvsplice.kind");
    return kind.ok() ? *kind : std::string();
  });
}

}  // namespace kvsplice::gguf
