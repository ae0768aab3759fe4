// A .golden file: arrays by name, one behind the other. README.md has the format.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "core/bytes.h"
#include "core/file.h"
#include "core/matrix.h"

namespace kvsplice::golden {

// Of each unit by its name: "k.0" are the keys of layer 0, "v.all" the values of all layers.
template <class T>
using Units = std::map<std::string, Matrix<T>>;

class GoldenFile {
 public:
  static Result<GoldenFile> read(const std::string& path) {
    KVS_ASSIGN(const Bytes bytes, read_file(path));
    ByteReader in(bytes);
    GoldenFile file;
    while (in.left() > 0) KVS_TRY(file.read_array(in));
    return file;
  }

  Result<> write(const std::string& path) const {
    ByteWriter out;
    for (const auto& [name, array] : arrays_) {
      put_text(name, out);
      put_text(array.type, out);
      out.put(array.rows);
      out.put(array.columns);
      out.put_bytes(array.bytes);
    }
    return write_file(path, out.bytes());
  }

  bool has(const std::string& name) const { return arrays_.contains(name); }

  template <class T>
  Result<Matrix<T>> get(const std::string& name) const {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) return Error{ErrorKind::format, "no array " + name};
    const Array& array = found->second;
    if (array.type != type_of<T>()) return Error{ErrorKind::format, name + " is " + array.type};
    Matrix<T> made(array.rows, array.columns);
    std::copy(array.bytes.begin(), array.bytes.end(), reinterpret_cast<uint8_t*>(made.data()));
    return made;
  }

  template <class T>
  void put(const std::string& name, const Matrix<T>& values) {
    ByteWriter out;
    out.put_array(values.flat());
    arrays_[name] = {type_of<T>(), uint32_t(values.rows()), uint32_t(values.cols()), out.take()};
  }

  // One column.
  template <class T>
  void put(const std::string& name, std::span<const T> values) {
    Matrix<T> column(values.size(), 1);
    std::copy(values.begin(), values.end(), column.data());
    put(name, column);
  }

  // The arrays <group>.<unit>.
  template <class T>
  Result<Units<T>> units(const std::string& group) const {
    Units<T> units;
    for (const auto& [name, array] : arrays_) {
      if (!name.starts_with(group + ".")) continue;
      KVS_ASSIGN(units[name.substr(group.size() + 1)], get<T>(name));
    }
    return units;
  }

  template <class T>
  void put_units(const std::string& group, const Units<T>& units) {
    for (const auto& [unit, values] : units) put(group + "." + unit, values);
  }

 private:
  struct Array {
    std::string type;  // as NumPy names it
    uint32_t rows = 0, columns = 0;
    Bytes bytes;
  };

  template <class T>
  static std::string type_of() {
    const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
    return std::string("<") + kind + std::to_string(sizeof(T));
  }

  static void put_text(const std::string& text, ByteWriter& out) {
    out.put(uint32_t(text.size()));
    out.put_bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  static Result<std::string> get_text(ByteReader& in) {
    KVS_ASSIGN(const uint32_t size, in.get<uint32_t>());
    KVS_ASSIGN(const ByteSpan bytes, in.take(size));
    return std::string(bytes.begin(), bytes.end());
  }

  Result<> read_array(ByteReader& in) {
    KVS_ASSIGN(const std::string name, get_text(in));
    Array array;
    KVS_ASSIGN(array.type, get_text(in));
    KVS_ASSIGN(array.rows, in.get<uint32_t>());
    KVS_ASSIGN(array.columns, in.get<uint32_t>());
    const size_t width = size_t(array.type.back() - '0');
    KVS_ASSIGN(const ByteSpan bytes, in.take(width * array.rows * array.columns));
    array.bytes.assign(bytes.begin(), bytes.end());
    arrays_[name] = std::move(array);
    return {};
  }

  std::map<std::string, Array> arrays_;
};

}  // namespace kvsplice::golden
