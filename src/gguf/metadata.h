// The metadata of a GGUF file. Every length in it has been checked against the file; values stay as
// the file has them until someone asks.
#pragma once

#include <vector>

#include "gguf/file_start.h"
#include "gguf/wire.h"

namespace kvsplice::gguf {

class Metadata {
 public:
  static Result<Metadata> read(std::shared_ptr<const ByteSource> source, const std::string& name);

  // Errors name the key, the type met and the type wanted.
  Result<std::string> text(const std::string& key) const;
  Result<int64_t> integer(const std::string& key) const;  // of any integer type, if it fits
  Result<double> number(const std::string& key) const;
  Result<bool> flag(const std::string& key) const;
  Result<std::vector<std::string>> texts(const std::string& key) const;
  Result<std::vector<int32_t>> integers(const std::string& key) const;
  Result<std::vector<float>> numbers(const std::string& key) const;
  bool has(const std::string& key) const { return find(key) != nullptr; }

  // As the file has them, sorted by their keys. They last until more of the file is taken.
  struct Value {
    std::string_view key;
    ValueType type;  // of the elements, if it is an array
    bool is_array;
    uint32_t count;
    ByteSpan bytes;
  };
  std::vector<Value> values() const;

  const std::string& name() const { return start_.name(); }
  const ByteSource& source() const { return start_.source(); }
  // Behind the metadata comes the list of tensors.
  uint64_t tensor_count() const { return tensor_count_; }
  uint64_t alignment() const { return alignment_; }
  FileStart& rest() { return start_; }

 private:
  struct Entry {
    Part key, value;  // the value of an array: its elements
    uint32_t count = 1;
    ValueType type = ValueType::u8;  // of the elements, if it is an array
    bool is_array = false;
  };

  explicit Metadata(FileStart start) : start_(std::move(start)) {}
  Result<uint64_t> read_counts();
  Result<ValueType> take_type(Part key);
  Result<Entry> take_entry();
  Result<> take_array(Entry& entry);
  Result<> sort_entries();
  Result<> find_alignment();

  const Entry* find(std::string_view key) const;
  Result<const Entry*> look_up(const std::string& key) const;
  Result<const Entry*> look_up(const std::string& key, ValueType type, bool is_array,
                               const char* wanted) const;
  Error wrong_type(const Entry& entry, const char* wanted) const;
  template <class T>
  T value(const Entry& entry) const;
  template <class T>
  Result<std::vector<T>> array(const std::string& key, ValueType type, const char* wanted) const;

  FileStart start_;
  std::vector<Entry> entries_;  // by their keys
  uint64_t tensor_count_ = 0, alignment_ = kAlignment;
};

}  // namespace kvsplice::gguf
