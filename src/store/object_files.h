// The files of a store's objects: objects/<first two digits>/<name>.kvo. They appear whole, and
// what a killed program has begun is removed by the next.
#pragma once

#include <atomic>
#include <memory>

#include "core/temporary_folder.h"
#include "store/object.h"

namespace kvsplice::store {

// What a file says without the key.
struct FileHead {
  ObjectHead head;
  uint64_t bytes = 0;
};

class ObjectFiles {
 public:
  // Makes objects/ and tmp/ if they are not there.
  static Result<ObjectFiles> open(const std::string& folder);

  std::string path(const Hash& own) const;
  bool has(const Hash& own) const;
  // Of a file that has as many bytes as its head says, and the name. Errors: io if it cannot be
  // read, or format.
  Result<FileHead> head(const Hash& own) const;
  Result<std::vector<int32_t>> tokens(const Hash& own, const Key& key) const;
  Result<Object> read(const Hash& own, const Key& key) const;
  Result<Bytes> sealed(const Hash& own) const;
  // Takes the place of what has the name.
  Result<> write(const Hash& own, ByteSpan sealed) const;
  Result<> remove(const Hash& own) const;  // nothing if it is not there
  Result<std::vector<Hash>> list() const;  // in order

 private:
  ObjectFiles(std::string objects, TemporaryFolder scratch)
      : objects_(std::move(objects)), scratch_(std::move(scratch)) {}

  std::string objects_;
  TemporaryFolder scratch_;  // in tmp/, this object's own
  // Of files in it.
  std::unique_ptr<std::atomic<uint64_t>> next_ = std::make_unique<std::atomic<uint64_t>>(0);
};

// A folder that its user alone may enter, if it is not there.
Result<> make_folder(const std::string& path);

}  // namespace kvsplice::store
