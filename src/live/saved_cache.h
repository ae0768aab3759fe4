// A live cache in a file: a session that attention reads again as it is. Nothing is coded anew,
// neither when it is written nor when it is read. docs/live.md is the specification.
#pragma once

#include "core/byte_source.h"
#include "core/output_file.h"
#include "live/layer_cache.h"

namespace kvsplice::live {

// What the header says.
struct SavedCacheInfo {
  struct Layer {
    size_t key_width = 0, value_width = 0;              // of a row
    size_t key_group_bytes = 0, value_group_bytes = 0;  // of 256 rows
    size_t groups = 0;                                  // that its attention can still see

    bool operator==(const Layer&) const = default;
  };

  std::string codec, model;  // fingerprints
  std::string model_name, architecture;
  LiveOptions options;
  size_t groups = 0, exact = 0;  // groups of coded tokens there have been, and tokens not coded
  size_t waiting = 0;            // tokens behind these, which have no cells yet
  std::vector<Layer> layers;

  size_t cells() const { return groups * kGroup + exact; }
  uint64_t layer_bytes(size_t layer) const;
};

class SavedCache {
 public:
  // Whether the first bytes of a file are those of a live cache.
  static bool begins(ByteSpan start);
  static Result<SavedCache> open(const std::string& path);
  // The name is for messages.
  static Result<SavedCache> open(std::shared_ptr<const ByteSource> source, std::string name);

  const std::string& name() const { return name_; }  // or the path
  const SavedCacheInfo& info() const { return info_; }
  uint64_t bytes() const { return source_->size(); }

  // Error mismatch if it is of another codec or model.
  Result<> check_form(const LiveForm& form) const;
  // Those of the cells, then those that wait.
  Result<std::vector<int32_t>> tokens() const;
  // The form has to outlive them.
  Result<std::vector<LayerCache>> layers(const LiveForm& form) const;
  Result<> check() const;  // compares all checksums

 private:
  SavedCache(std::shared_ptr<const ByteSource> source, std::string name)
      : source_(std::move(source)), name_(std::move(name)) {}
  Result<> load();
  Result<Bytes> part(uint64_t offset, uint64_t bytes, const std::string& what) const;
  uint64_t tokens_bytes() const { return (info_.cells() + info_.waiting) * sizeof(int32_t); }
  uint64_t offset_of_layer(size_t layer) const;

  std::shared_ptr<const ByteSource> source_;
  std::string name_;
  SavedCacheInfo info_;
  uint64_t header_bytes_ = 0;
};

// All layers of a cache, and its tokens; those behind its cells wait.
Result<> save_cache(OutputFile out, const LiveForm& form, std::span<const LayerCache> layers,
                    std::span<const int32_t> tokens);

}  // namespace kvsplice::live
