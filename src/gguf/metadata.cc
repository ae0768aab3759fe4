#include "gguf/metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

namespace kvsplice::gguf {

Result<Metadata> Metadata::read(std::shared_ptr<const ByteSource> source, const std::string& name) {
  if (source->size() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Error{ErrorKind::usage, fmt::format("{}: {} bytes", name, source->size())};
  }
  Metadata metadata(FileStart(std::move(source), name));
  KVS_ASSIGN(const uint64_t count, metadata.read_counts());
  for (uint64_t i = 0; i < count; ++i) {
    KVS_ASSIGN(const Entry entry, metadata.take_entry());
    metadata.entries_.push_back(entry);
  }
  KVS_TRY(metadata.sort_entries());
  KVS_TRY(metadata.find_alignment());
  return metadata;
}

// Returns the number of entries. It needs no check: each entry takes bytes.
Result<uint64_t> Metadata::read_counts() {
  const auto magic = start_.take(kMagic.size());
  if (!magic.ok() || start_.text(*magic) != kMagic) {
    if (!magic.ok() && magic.error().kind != ErrorKind::format) return magic.error();
    return Error{ErrorKind::format, fmt::format("{} is not a GGUF file", name())};
  }
  KVS_ASSIGN(const uint32_t version, start_.get<uint32_t>());
  if (version < kOldestVersion || version > kVersion) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} is of version {} of GGUF; {} ... {} are read", name(), version,
                             kOldestVersion, kVersion)};
  }
  KVS_ASSIGN(tensor_count_, start_.get<uint64_t>());
  return start_.get<uint64_t>();
}

Result<ValueType> Metadata::take_type(Part key) {
  KVS_ASSIGN(const uint32_t type, start_.get<uint32_t>());
  if (type < kValueTypes) return static_cast<ValueType>(type);
  return start_.damaged(fmt::format("'{}' is of type {}", start_.text(key), type));
}

Result<Metadata::Entry> Metadata::take_entry() {
  Entry entry;
  KVS_ASSIGN(entry.key, start_.take_text());
  if (entry.key.size == 0) return start_.damaged("a key is empty");
  KVS_ASSIGN(entry.type, take_type(entry.key));
  if (entry.type == ValueType::array) {
    KVS_TRY(take_array(entry));
  } else if (entry.type == ValueType::text) {
    KVS_ASSIGN(entry.value, start_.take_text());
  } else {
    KVS_ASSIGN(entry.value, start_.take(bytes_of(entry.type)));
  }
  return entry;
}

Result<> Metadata::take_array(Entry& entry) {
  entry.is_array = true;
  KVS_ASSIGN(entry.type, take_type(entry.key));
  if (entry.type == ValueType::array) {
    return start_.damaged(fmt::format("'{}' is an array of arrays", start_.text(entry.key)));
  }
  const bool texts = entry.type == ValueType::text;
  const uint64_t each = texts ? sizeof(uint64_t) : bytes_of(entry.type);
  KVS_ASSIGN(const uint64_t count, start_.get<uint64_t>());
  if (count > start_.left() / each) {
    return start_.damaged(fmt::format("'{}' has {} values and {} bytes are left",
                                      start_.text(entry.key), count, start_.left()));
  }
  const uint64_t from = start_.position();
  for (uint64_t i = 0; texts && i < count; ++i) KVS_TRY(start_.take_text());
  if (!texts) KVS_TRY(start_.take(count * each));
  entry.count = static_cast<uint32_t>(count);
  entry.value = {static_cast<uint32_t>(from), static_cast<uint32_t>(start_.position() - from)};
  return {};
}

Result<> Metadata::sort_entries() {
  const auto key = [&](const Entry& e) { return start_.text(e.key); };
  std::sort(entries_.begin(), entries_.end(),
            [&](const Entry& a, const Entry& b) { return key(a) < key(b); });
  const auto twice =
      std::adjacent_find(entries_.begin(), entries_.end(),
                         [&](const Entry& a, const Entry& b) { return key(a) == key(b); });
  if (twice == entries_.end()) return {};
  return start_.damaged(fmt::format("the key '{}' is there twice", key(*twice)));
}

Result<> Metadata::find_alignment() {
  const Entry* entry = find(kAlignmentKey);
  if (entry == nullptr) return {};
  if (entry->is_array || entry->type != ValueType::u32) return wrong_type(*entry, "u32");
  alignment_ = value<uint32_t>(*entry);
  if (std::has_single_bit(alignment_)) return {};
  return start_.damaged(
      fmt::format("'{}' is {}, a power of 2 is wanted", kAlignmentKey, alignment_));
}

const Metadata::Entry* Metadata::find(std::string_view key) const {
  const auto at =
      std::lower_bound(entries_.begin(), entries_.end(), key,
                       [&](const Entry& e, std::string_view k) { return start_.text(e.key) < k; });
  return at != entries_.end() && start_.text(at->key) == key ? &*at : nullptr;
}

Result<const Metadata::Entry*> Metadata::look_up(const std::string& key) const {
  if (const Entry* entry = find(key)) return entry;
  return Error{ErrorKind::format, fmt::format("{} has no metadata '{}'", name(), key)};
}

Result<const Metadata::Entry*> Metadata::look_up(const std::string& key, ValueType type,
                                                 bool is_array, const char* wanted) const {
  KVS_ASSIGN(const Entry* entry, look_up(key));
  if (entry->type != type || entry->is_array != is_array) return wrong_type(*entry, wanted);
  return entry;
}

Error Metadata::wrong_type(const Entry& entry, const char* wanted) const {
  return {ErrorKind::format,
          fmt::format("{}: '{}' is of type {}{}, {} is wanted", name(), start_.text(entry.key),
                      entry.is_array ? "array of " : "", name_of(entry.type), wanted)};
}

template <class T>
T Metadata::value(const Entry& entry) const {
  T value;
  std::memcpy(&value, start_[entry.value].data(), sizeof value);
  return value;
}

template <class T>
Result<std::vector<T>> Metadata::array(const std::string& key, ValueType type,
                                       const char* wanted) const {
  KVS_ASSIGN(const Entry* entry, look_up(key, type, true, wanted));
  return ByteReader(start_[entry->value]).get_array<T>(entry->count);
}

Result<std::string> Metadata::text(const std::string& key) const {
  KVS_ASSIGN(const Entry* entry, look_up(key, ValueType::text, false, "a string"));
  return std::string(start_.text(entry->value));
}

Result<int64_t> Metadata::integer(const std::string& key) const {
  KVS_ASSIGN(const Entry* entry, look_up(key));
  if (entry->is_array) return wrong_type(*entry, "an integer");
  switch (entry->type) {
    case ValueType::u8:
      return int64_t{value<uint8_t>(*entry)};
    case ValueType::i8:
      return int64_t{value<int8_t>(*entry)};
    case ValueType::u16:
      return int64_t{value<uint16_t>(*entry)};
    case ValueType::i16:
      return int64_t{value<int16_t>(*entry)};
    case ValueType::u32:
      return int64_t{value<uint32_t>(*entry)};
    case ValueType::i32:
      return int64_t{value<int32_t>(*entry)};
    case ValueType::i64:
      return value<int64_t>(*entry);
    case ValueType::u64: {
      const auto number = value<uint64_t>(*entry);
      if (number <= uint64_t{std::numeric_limits<int64_t>::max()}) return int64_t(number);
      return Error{ErrorKind::format, fmt::format("{}: '{}' is {}; at most {} is read", name(), key,
                                                  number, std::numeric_limits<int64_t>::max())};
    }
    default:
      return wrong_type(*entry, "an integer");
  }
}

Result<double> Metadata::number(const std::string& key) const {
  KVS_ASSIGN(const Entry* entry, look_up(key));
  if (!entry->is_array && entry->type == ValueType::f32) return double{value<float>(*entry)};
  if (!entry->is_array && entry->type == ValueType::f64) return value<double>(*entry);
  return wrong_type(*entry, "a number with a fraction");
}

Result<bool> Metadata::flag(const std::string& key) const {
  KVS_ASSIGN(const Entry* entry, look_up(key, ValueType::flag, false, "a truth value"));
  return value<uint8_t>(*entry) != 0;
}

Result<std::vector<std::string>> Metadata::texts(const std::string& key) const {
  KVS_ASSIGN(const Entry* entry, look_up(key, ValueType::text, true, "an array of strings"));
  ByteReader elements(start_[entry->value]);
  std::vector<std::string> texts(entry->count);
  for (std::string& text : texts) {
    KVS_ASSIGN(const uint64_t size, elements.get<uint64_t>());
    KVS_ASSIGN(const ByteSpan characters, elements.take(size));
    text.assign(characters.begin(), characters.end());
  }
  return texts;
}

Result<std::vector<int32_t>> Metadata::integers(const std::string& key) const {
  return array<int32_t>(key, ValueType::i32, "an array of 32-bit integers");
}

Result<std::vector<float>> Metadata::numbers(const std::string& key) const {
  return array<float>(key, ValueType::f32, "an array of 32-bit floats");
}

std::vector<Metadata::Value> Metadata::values() const {
  std::vector<Value> values;
  for (const Entry& e : entries_) {
    values.push_back({start_.text(e.key), e.type, e.is_array, e.count, start_[e.value]});
  }
  return values;
}

}  // namespace kvsplice::gguf
