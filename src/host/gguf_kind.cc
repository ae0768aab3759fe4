#include "host/gguf_kind.h"

#include "host/gguf_source.h"

namespace kvsplice::host {

Result<std::string> kind_of_gguf(const std::string& path) {
  KVS_ASSIGN(const GgufSource file, GgufSource::open(path));
  return file.text_or("kvsplice.kind", "");
}

}  // namespace kvsplice::host
