#include "session/lossless_record.h"

#include <fmt/format.h>

#include <array>

namespace kvsplice::session {

namespace {

// A binary range coder in the manner of LZMA: 32 bits of range, carries by counting 0xff bytes.
constexpr int kProbabilityBits = 12;
constexpr int kAdaptation = 4;
constexpr uint32_t kLeastRange = 1u << 24;

// Probabilities of zero at each node of the tree over a byte; node 0 is not used.
struct ByteModel {
  std::array<uint16_t, 256> zero;
  ByteModel() { zero.fill(1 << (kProbabilityBits - 1)); }

  static void learn(uint16_t& p, bool bit) {
    p = static_cast<uint16_t>(bit ? p - (p >> kAdaptation)
                                  : p + (((1 << kProbabilityBits) - p) >> kAdaptation));
  }
};

class BinaryEncoder {
 public:
  void put(uint16_t& p, bool bit) {
    const uint32_t bound = (range_ >> kProbabilityBits) * p;
    if (bit) {
      low_ += bound;
      range_ -= bound;
    } else {
      range_ = bound;
    }
    ByteModel::learn(p, bit);
    for (; range_ < kLeastRange; range_ <<= 8) shift();
  }

  Bytes finish() {
    for (int i = 0; i < 5; ++i) shift();
    return std::move(out_);
  }

 private:
  void shift() {
    if (low_ < 0xff000000u || low_ >> 32 != 0) {
      const auto carry = static_cast<uint8_t>(low_ >> 32);
      for (; held_ > 0; --held_, next_ = 0xff) out_.push_back(static_cast<uint8_t>(next_ + carry));
      held_ = 1;
      next_ = static_cast<uint8_t>(low_ >> 24);
    } else {
      ++held_;
    }
    low_ = (low_ & 0x00ffffffu) << 8;
  }

  uint64_t low_ = 0;
  uint32_t range_ = 0xffffffffu;
  uint8_t next_ = 0;  // first of the bytes that wait for a carry; 0xff follow it
  size_t held_ = 1;
  Bytes out_;
};

class BinaryDecoder {
 public:
  // Zeros are read behind the end: five bytes more than an encoder may leave out.
  explicit BinaryDecoder(ByteSpan bytes) : bytes_(bytes) {
    for (int i = 0; i < 5; ++i) code_ = code_ << 8 | next();
  }

  bool get(uint16_t& p) {
    const uint32_t bound = (range_ >> kProbabilityBits) * p;
    const bool bit = code_ >= bound;
    if (bit) {
      code_ -= bound;
      range_ -= bound;
    } else {
      range_ = bound;
    }
    ByteModel::learn(p, bit);
    for (; range_ < kLeastRange; range_ <<= 8) code_ = code_ << 8 | next();
    return bit;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  uint8_t next() {
    const uint8_t byte = at_ < bytes_.size() ? bytes_[at_] : 0;
    ++at_;
    return byte;
  }

  ByteSpan bytes_;
  size_t at_ = 0;
  uint32_t code_ = 0, range_ = 0xffffffffu;
};

Bytes encode_high(const RowsView& cells, std::span<uint16_t> row) {
  std::vector<ByteModel> models(cells.cols);
  BinaryEncoder encoder;
  for (size_t r = 0; r < cells.rows; ++r) {
    read_rows(cells.row_range(r, 1), MatrixView<uint16_t>(row.data(), 1, row.size()));
    for (size_t c = 0; c < cells.cols; ++c) {
      const unsigned byte = row[c] >> 8;
      for (unsigned node = 1, i = 8; i-- > 0;) {
        const bool bit = byte >> i & 1;
        encoder.put(models[c].zero[node], bit);
        node = 2 * node + bit;
      }
    }
  }
  return encoder.finish();
}

void put_low(const RowsView& cells, std::span<uint16_t> row, ByteWriter& out) {
  for (size_t r = 0; r < cells.rows; ++r) {
    read_rows(cells.row_range(r, 1), MatrixView<uint16_t>(row.data(), 1, row.size()));
    for (const uint16_t cell : row) out.put(static_cast<uint8_t>(cell));
  }
}

// Hands on row after row: take(r, cells).
template <class Take>
bool decode_rows(ByteSpan high, ByteSpan low, size_t count, size_t width, const Take& take) {
  std::vector<ByteModel> models(width);
  std::vector<uint16_t> row(width);
  BinaryDecoder decoder(high);
  for (size_t r = 0; r < count; ++r) {
    for (size_t c = 0; c < width; ++c) {
      unsigned node = 1;
      while (node < 256) node = 2 * node + decoder.get(models[c].zero[node]);
      row[c] = static_cast<uint16_t>((node & 0xff) << 8 | low[r * width + c]);
    }
    take(r, std::span<const uint16_t>(row));
  }
  return decoder.at_end();
}

}  // namespace

void put_lossless(const KvView& cells, const std::vector<LayerShape>& layers, ByteWriter& out) {
  size_t values = 0;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const RowsView& rows : cells.of(kind)) values += rows.rows * rows.cols;
  }
  // Hardly ever is it more: then it need not be moved to larger memory while both are held.
  out.reserve(out.size() + values * sizeof(uint16_t));
  for (size_t l = 0; l < layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      if (layers[l].width(kind) == 0) continue;
      if (cells.absent > 0 && layers[l].window > 0) {
        out.put_varint(0);
        continue;
      }
      const RowsView& rows = cells.of(kind)[l];
      std::vector<uint16_t> row(rows.cols);
      const Bytes high = encode_high(rows, row);
      out.put_varint(high.size());
      out.put_bytes(high);
      put_low(rows, row, out);
    }
  }
}

Result<LosslessRecord> LosslessRecord::parse(ByteReader& in, size_t count,
                                             const std::vector<LayerShape>& layers) {
  LosslessRecord record;
  record.count_ = count;
  size_t with_window = 0, absent = 0;  // layers, keys and values counted apart
  for (const LayerShape& layer : layers) {
    for (Kind kind : {Kind::key, Kind::value}) {
      Rows rows;
      rows.width = static_cast<size_t>(layer.width(kind));
      rows.layer = layer.layer;
      if (rows.width == 0) {
        rows.absent = true;
        record.rows_.push_back(rows);
        continue;
      }
      KVS_ASSIGN(const uint64_t size, in.get_varint());
      with_window += layer.window > 0;
      rows.absent = size == 0 && layer.window > 0;
      absent += rows.absent;
      if (!rows.absent) {
        KVS_ASSIGN(rows.high, in.take(size));
        KVS_ASSIGN(rows.low, in.take(count * rows.width));
      }
      record.rows_.push_back(rows);
    }
  }
  if (in.left() > 0) {
    return Error{ErrorKind::format, fmt::format("{} bytes behind the cells", in.left())};
  }
  if (absent > 0 && absent < with_window) {
    return Error{ErrorKind::format, "only some of the layers with a window are there"};
  }
  record.lacks_windows_ = absent > 0;
  return record;
}

Result<> LosslessRecord::decode(Kind kind, size_t layer, ptrdiff_t at, const KvPlace& to) const {
  const Rows& rows = this->rows(kind, layer);
  if (rows.absent) return {};
  const auto take = [&](size_t r, std::span<const uint16_t> row) {
    to.put(kind, layer, at + ptrdiff_t(r), MatrixView<const uint16_t>(row.data(), 1, row.size()));
  };
  const bool sound = decode_rows(rows.high, rows.low, count_, rows.width, take);
  if (sound) return {};
  return Error{ErrorKind::format, fmt::format("layer {} {}s: the coded bytes do not end with the "
                                              "cells",
                                              rows.layer, name(kind))};
}

}  // namespace kvsplice::session
