// A place elsewhere that keeps sealed values by name, so that several stores share them. Nothing it
// says is trusted: whoever asks opens what comes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/hash.h"
#include "store/remote/patience.h"

namespace kvsplice::store {

class Remote {
 public:
  virtual ~Remote() = default;

  // Errors of all calls: io if there is no answer, none in time, or none that can be read;
  // unsupported if it refuses, in its own words.
  //
  // Bytes of each, as the remote says; 0: it is not there. One round trip, if it can.
  virtual Result<std::vector<uint64_t>> sizes(std::span<const Hash> names, Patience& patience) = 0;
  // What is there, each at most `most` bytes, and nothing for the others. If some fail, those that
  // came whole are there nevertheless.
  virtual Result<> get(std::span<const Hash> names, uint64_t most, Patience& patience,
                       std::vector<Bytes>& found) = 0;
  // Takes the place of what has the name. Readers see the old or the new value, whole.
  virtual Result<> put(const Hash& name, ByteSpan value, Patience& patience) = 0;
  virtual Result<> drop(const Hash& name, Patience& patience) = 0;
  // How many values it has, if it can tell cheaply; shows that it answers, too.
  virtual Result<std::optional<uint64_t>> count(Patience& patience) = 0;
  // Its URL, without what is secret.
  virtual std::string where() const = 0;
};

// redis://, unix://, s3+http:// and s3+https:// (remote_url.h); nothing is asked of it yet. Errors:
// usage, for a URL that is none or keys that are missing in the environment.
Result<std::unique_ptr<Remote>> open_remote(const std::string& url);

}  // namespace kvsplice::store
