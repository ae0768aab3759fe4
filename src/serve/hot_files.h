// Slot files as the server wrote them, the last ones that fit: where memory is plenty they come
// back faster than anything that has to be decoded.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace kvsplice::serve {

class HotFiles {
 public:
  // Bytes of all files; 0: none is kept.
  explicit HotFiles(uint64_t most_bytes) : most_(most_bytes) {}

  // A file on disk, which goes when nobody holds it any more.
  class File {
   public:
    File(std::string path, std::string tenant, std::vector<int32_t> tokens, uint64_t bytes)
        : path_(std::move(path)),
          tenant_(std::move(tenant)),
          tokens_(std::move(tokens)),
          bytes_(bytes) {}
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    const std::string& path() const { return path_; }
    const std::string& tenant() const { return tenant_; }
    std::span<const int32_t> tokens() const { return tokens_; }
    uint64_t bytes() const { return bytes_; }

   private:
    std::string path_, tenant_;
    std::vector<int32_t> tokens_;
    uint64_t bytes_;
  };
  using Held = std::shared_ptr<const File>;

  // Takes the file over, keeps it or removes it. Files that it goes on from, and those used
  // longest ago, make room.
  void add(std::string path, std::string tenant, std::vector<int32_t> tokens);

  // The one of this tenant that shares most tokens with these. whole: only one of which all tokens
  // are shared.
  Held find(const std::string& tenant, std::span<const int32_t> tokens, bool whole);

  struct Totals {
    size_t files = 0;
    uint64_t bytes = 0;
  };
  Totals totals() const;

 private:
  const uint64_t most_;
  mutable std::mutex mutex_;
  std::list<Held> files_;  // last used first
  uint64_t bytes_ = 0;
};

}  // namespace kvsplice::serve
