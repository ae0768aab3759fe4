// What the tests of the C interface start from: codecs, blocks and sessions of tests/golden, and
// rows in memory of every kind.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>

#include "../golden/golden_file.h"
#include "core/half.h"
#include "core/shape.h"
#include "core/temporary_folder.h"
#include "kvsplice/kvsplice.hpp"

namespace kvsplice::api {

inline std::string golden_path(const std::string& name) {
  return KVSPLICE_SOURCE_DIR "/tests/golden/1/" + name;
}

enum class Layout { dense, strided, transposed, backwards };
constexpr Layout kLayouts[] = {Layout::dense, Layout::strided, Layout::transposed,
                               Layout::backwards};
constexpr kvs_element kElements[] = {KVS_F32, KVS_F16, KVS_BF16};

inline uint32_t to_bits(float value, kvs_element element) {
  if (element == KVS_F32) return std::bit_cast<uint32_t>(value);
  return element == KVS_F16 ? to_half(value) : std::bit_cast<uint32_t>(value) >> 16;
}

inline float from_bits(uint32_t bits, kvs_element element) {
  if (element == KVS_F16) return from_half(uint16_t(bits));
  return std::bit_cast<float>(element == KVS_F32 ? bits : bits << 16);
}

// A matrix that a kvs_rows describes, at an odd address.
class RowsInMemory {
 public:
  RowsInMemory(size_t rows, size_t cols, kvs_element element, Layout layout)
      : rows_(rows), cols_(cols), bytes_(element == KVS_F32 ? 4 : 2) {
    const auto n = ptrdiff_t(rows), width = ptrdiff_t(cols);
    at_ = {nullptr, width, 1, element};
    if (layout == Layout::strided) at_.row_stride = 2 * width + 3, at_.col_stride = 2;
    if (layout == Layout::transposed) at_.row_stride = 1, at_.col_stride = n + 1;
    if (layout == Layout::backwards) at_.row_stride = -width;
    memory_.resize(bytes_ * (rows + 1) * (2 * cols + 4) + 1, kUntouched);
    if (n == 0) return;
    const ptrdiff_t first = layout == Layout::backwards ? (n - 1) * width : 0;
    at_.data = memory_.data() + 1 + first * ptrdiff_t(bytes_);
  }

  kvs_rows at() {
    return {memory_.empty() ? nullptr : at_.data, at_.row_stride, at_.col_stride, at_.element};
  }

  void set(const Matrix<float>& values) {
    for (size_t r = 0; r < values.rows(); ++r) {
      for (size_t c = 0; c < values.cols(); ++c) {
        const uint32_t bits = to_bits(values(r, c), at_.element);
        std::memcpy(place(r, c), &bits, bytes_);
      }
    }
  }

  Matrix<float> get() {
    Matrix<float> values(rows_, cols_);
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < cols_; ++c) {
        uint32_t bits = 0;
        std::memcpy(&bits, place(r, c), bytes_);
        values(r, c) = from_bits(bits, at_.element);
      }
    }
    return values;
  }

  bool untouched() const {
    return std::all_of(memory_.begin(), memory_.end(), [](uint8_t b) { return b == kUntouched; });
  }

 private:
  static constexpr uint8_t kUntouched = 0xa5;

  uint8_t* place(size_t r, size_t c) {
    const ptrdiff_t steps = ptrdiff_t(r) * at_.row_stride + ptrdiff_t(c) * at_.col_stride;
    return static_cast<uint8_t*>(at_.data) + steps * ptrdiff_t(bytes_);
  }

  size_t rows_, cols_, bytes_;
  Bytes memory_;
  kvs_rows at_{};
};

// The rows of all layers. T: what has layers, a Codec or a Session.
class BlockInMemory {
 public:
  template <class T>
  BlockInMemory(const T& of, size_t count, kvs_element element, Layout layout = Layout::dense) {
    for (int l = 0; l < of.layers(); ++l) {
      const kvs_layer layer = of.layer(l);
      rows_.emplace_back(count, size_t(layer.kv_heads * layer.key_dim), element, layout);
      rows_.emplace_back(count, size_t(layer.kv_heads * layer.value_dim), element, layout);
    }
    for (size_t l = 0; l < rows_.size() / 2; ++l) {
      keys_.push_back(rows(Kind::key, l).at());
      values_.push_back(rows(Kind::value, l).at());
    }
    block_ = {count, nullptr, nullptr, KVS_RAW, keys_.data(), values_.data(), 0, nullptr};
  }
  BlockInMemory(const BlockInMemory&) = delete;

  RowsInMemory& rows(Kind kind, size_t layer) {
    return rows_[2 * layer + (kind == Kind::key ? 0 : 1)];
  }
  size_t layers() const { return keys_.size(); }
  kvs_block& block() { return block_; }
  kvs_block& of(std::span<const int32_t> tokens, std::span<const int32_t> positions,
                kvs_space space) {
    block_.tokens = tokens.data();
    block_.positions = positions.data();
    block_.space = space;
    return block_;
  }

 private:
  std::vector<RowsInMemory> rows_;
  std::vector<kvs_rows> keys_, values_;
  kvs_block block_{};
};

inline std::string unit_name(Kind kind, size_t layer) {
  return (kind == Kind::key ? "k." : "v.") + std::to_string(layer);
}

// A codec of tests/golden with its block.
class GoldenCase {
 public:
  explicit GoldenCase(const std::string& name) : name_(name) {}

  std::string codec_path() const { return golden_path(name_ + ".gguf"); }
  std::string session_path() const { return golden_path(name_ + ".kvz"); }
  bool has_codec() const { return std::filesystem::exists(codec_path()); }
  Codec codec(const kvs_options* options = nullptr) const {
    return std::move(Codec::open(codec_path(), options)).value();
  }
  std::span<const int32_t> tokens() const { return tokens_.flat(); }
  std::vector<int32_t> column(const std::string& name) const {
    const auto values = file_.get<int32_t>(name).value();
    return {values.flat().begin(), values.flat().end()};
  }
  std::span<const uint8_t> bytes() const { return bytes_.flat(); }

  // No rows where the block lacks the layer.
  Matrix<float> rows(Kind kind, size_t layer) const {
    return get<float>("rows." + unit_name(kind, layer));
  }
  Matrix<float> cells(Kind kind, size_t layer) const {
    const auto halves = file_.get<uint16_t>("cells." + unit_name(kind, layer)).value();
    Matrix<float> values(halves.rows(), halves.cols());
    std::transform(halves.flat().begin(), halves.flat().end(), values.data(), from_half);
    return values;
  }

  // Of the tokens of the file; others have none, and the look-up fails.
  kvs_embeddings embeddings() const {
    return {const_cast<GoldenCase*>(this), int(embeddings_.cols()), look_up};
  }

 private:
  static int look_up(void* user, const int32_t* tokens, size_t n, float* rows) {
    const auto& self = *static_cast<const GoldenCase*>(user);
    const auto all = self.tokens();
    const size_t dim = self.embeddings_.cols();
    for (size_t i = 0; i < n; ++i) {
      const auto found = std::find(all.begin(), all.end(), tokens[i]);
      if (found == all.end()) return 1;
      std::copy_n(self.embeddings_.row(size_t(found - all.begin())).begin(), dim, rows + i * dim);
    }
    return 0;
  }

  template <class T>
  Matrix<T> get(const std::string& array) const {
    return file_.has(array) ? file_.get<T>(array).value() : Matrix<T>();
  }

  std::string name_;
  golden::GoldenFile file_ =
      std::move(golden::GoldenFile::read(golden_path(name_ + ".golden"))).value();
  Matrix<int32_t> tokens_ = get<int32_t>("tokens");
  Matrix<uint8_t> bytes_ = get<uint8_t>("block");
  Matrix<float> embeddings_ = get<float>("embeddings");
};

inline double rms(const Matrix<float>& rows) {
  double power = 0;
  for (float x : rows.flat()) power += double(x) * x;
  return std::sqrt(power / double(std::max<size_t>(rows.size(), 1)));
}

// Off by at most `absolute` and `relative` of the value.
inline void expect_close(const Matrix<float>& met, const Matrix<float>& wanted, double absolute,
                         double relative = 0) {
  ASSERT_EQ(met.rows(), wanted.rows());
  ASSERT_EQ(met.cols(), wanted.cols());
  for (size_t i = 0; i < met.size(); ++i) {
    const double x = wanted.flat()[i];
    ASSERT_NEAR(met.flat()[i], x, absolute + relative * std::abs(x)) << "at " << i;
  }
}

template <class T>
void expect_error(const Result<T>& result, ErrorKind kind, const std::string& words) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(int(result.error().kind), int(kind)) << result.error().message;
  EXPECT_NE(result.error().message.find(words), std::string::npos) << result.error().message;
}

class InFolder : public testing::Test {
 protected:
  const TemporaryFolder folder_ = TemporaryFolder::create("api").value();
};

}  // namespace kvsplice::api
