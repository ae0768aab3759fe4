#include "core/file.h"
#include "seeds.h"
#include "store/archive.h"
#include "support/store_key.h"

namespace kvsplice::fuzz {

namespace {

// Of the first objects.
Result<Bytes> write_archive(size_t objects, const std::string& path) {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path));
  KVS_ASSIGN(auto archive, store::ArchiveWriter::begin(std::move(out), store_key().fingerprint()));
  for (size_t i = 0; i < objects; ++i) {
    KVS_ASSIGN(const Bytes sealed, store::seal(store_objects()[i], store_key()));
    KVS_TRY(archive.add(sealed));
  }
  KVS_TRY(archive.finish());
  return read_file(path);
}

}  // namespace

Seeds store_archive_seeds() {
  return {"store_archive", [](const std::string& scratch) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> seeds;
            for (size_t objects = 0; objects <= 2; ++objects) {
              KVS_ASSIGN(Bytes seed, write_archive(objects, scratch));
              seeds.push_back(std::move(seed));
            }
            return seeds;
          }};
}

}  // namespace kvsplice::fuzz
