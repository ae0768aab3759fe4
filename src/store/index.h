// What a store knows of its objects without opening them: an SQLite file, which several programs
// may use at once. It is made anew from the objects' heads when it is missing or damaged.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/object.h"

namespace kvsplice::store {

struct Entry {
  ObjectHead head;
  uint64_t bytes = 0;   // of the object's file
  uint64_t used = 0;    // seconds since 1970
  bool pinned = false;  // neither age nor lack of room drops it
};

struct Totals {
  uint64_t objects = 0, tails = 0, bytes = 0, tokens = 0, pinned = 0;
};

class Index {
 public:
  // Error format if there is none, or the file is no index of this version: the caller makes it
  // anew.
  static Result<Index> open(const std::string& path);
  // Takes the place of what is there, which another program may have open (see is_in_place). A
  // program that is killed meanwhile leaves what was there, or nothing.
  static Result<Index> make(const std::string& path, const std::vector<Entry>& entries);
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  // Whether the path still leads to the file that was opened.
  bool is_in_place() const;

  Result<> add(const Entry& entry);  // replaces what has its name
  Result<> remove(const Hash& own);
  Result<std::optional<Entry>> find(const Hash& own) const;
  // Newest used first; of a root, too.
  Result<std::vector<Entry>> children(const Hash& parent, size_t most = SIZE_MAX) const;
  Result<std::vector<Entry>> all() const;  // by root, then position
  // Uses an object and its ancestors.
  Result<> touch(const Hash& own, uint64_t now);
  // Of the object alone: its ancestors stay for as long as it does.
  Result<> pin(const Hash& own, bool pinned);
  // Objects without children that are not pinned, those the model's answers first, then least
  // recently used first.
  Result<std::vector<Entry>> leaves(size_t most) const;
  Result<Totals> totals() const;
  Result<Totals> totals_of(const Hash& root) const;

 private:
  struct Impl;
  explicit Index(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvsplice::store
