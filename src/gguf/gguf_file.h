// GGUF files: typed metadata under kvsplice.*, and tensors. Reading is defensive: every size is
// checked against the file before anything is allocated.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/byte_source.h"
#include "core/output_file.h"
#include "core/shape.h"

namespace kvsplice::gguf {

enum class TensorType { f32, f16, i8, i32 };

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<size_t> dims;  // row-major, outermost first (the reverse of ggml's order), at most 4
  size_t count() const;
};

// Metadata first, then the list of tensors, then their data in any order and in pieces, each value
// once; finish() makes the file appear under its name. Without finish() nothing is left behind.
class GgufWriter {
 public:
  static GgufWriter begin(OutputFile output);
  static Result<GgufWriter> create(const std::string& path, Readers readers = Readers::all);
  static GgufWriter in_memory();
  GgufWriter(GgufWriter&&) noexcept;
  GgufWriter& operator=(GgufWriter&&) noexcept;
  ~GgufWriter();

  // A key that is set again moves behind the others. llama.cpp reads its own numbers as uint32_t
  // and float only.
  void set(const std::string& key, const std::string& value);
  void set(const std::string& key, int64_t value);
  void set(const std::string& key, uint32_t value);
  void set(const std::string& key, double value);
  void set(const std::string& key, float value);
  void set(const std::string& key, bool value);
  void set(const std::string& key, const std::vector<std::string>& values);
  void set(const std::string& key, const std::vector<int32_t>& values);
  void set(const std::string& key, const std::vector<float>& values);
  void declare(const TensorInfo& tensor);
  Result<> begin_data();
  // Values [first, first + size) of a tensor, converted to its type.
  Result<> write(const std::string& tensor, size_t first, std::span<const float> values);
  Result<> write(const std::string& tensor, size_t first, std::span<const int32_t> values);
  Result<> finish();
  Result<Bytes> finish_bytes();  // of a file in memory, instead

 private:
  struct Impl;
  explicit GgufWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class GgufReader {
 public:
  static Result<GgufReader> open(const std::string& path);
  // The name is what errors call the bytes.
  static Result<GgufReader> open(std::shared_ptr<const ByteSource> source, const std::string& name);
  GgufReader(GgufReader&&) noexcept;
  GgufReader& operator=(GgufReader&&) noexcept;
  ~GgufReader();

  // Errors name the key, the type met and the type wanted.
  Result<std::string> text(const std::string& key) const;
  Result<int64_t> integer(const std::string& key) const;  // of any integer type, if it fits
  Result<double> number(const std::string& key) const;
  Result<bool> flag(const std::string& key) const;
  Result<std::vector<std::string>> texts(const std::string& key) const;
  Result<std::vector<int32_t>> integers(const std::string& key) const;
  Result<std::vector<float>> numbers(const std::string& key) const;
  bool has(const std::string& key) const;

  const std::vector<TensorInfo>& tensors() const;
  const TensorInfo* find(const std::string& tensor) const;
  // Values [first, first + size) of a tensor: as floats of f32, f16 and i8, else of that type
  // alone; uint16_t is an f16's bits.
  Result<> read(const std::string& tensor, size_t first, std::span<float> out) const;
  Result<> read(const std::string& tensor, size_t first, std::span<int32_t> out) const;
  Result<> read(const std::string& tensor, size_t first, std::span<int8_t> out) const;
  Result<> read(const std::string& tensor, size_t first, std::span<uint16_t> out) const;
  const std::string& path() const;

 private:
  struct Impl;
  explicit GgufReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ModelShape under kvsplice.model.*, for dumps and codecs alike.
void write_shape(GgufWriter& file, const ModelShape& shape);
Result<ModelShape> read_shape(const GgufReader& file);

}  // namespace kvsplice::gguf
