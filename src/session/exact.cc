#include "session/exact.h"

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

Bytes encode_high(const Matrix<uint16_t>& cells) {
  std::vector<ByteModel> models(cells.cols());
  BinaryEncoder encoder;
  for (size_t r = 0; r < cells.rows(); ++r) {
    for (size_t c = 0; c < cells.cols(); ++c) {
      const unsigned byte = cells(r, c) >> 8;
      for (unsigned node = 1, i = 8; i-- > 0;) {
        const bool bit = byte >> i & 1;
        encoder.put(models[c].zero[node], bit);
        node = 2 * node + bit;
      }
    }
  }
  return encoder.finish();
}

bool decode_high(ByteSpan bytes, Matrix<uint16_t>& cells) {
  std::vector<ByteModel> models(cells.cols());
  BinaryDecoder decoder(bytes);
  for (size_t r = 0; r < cells.rows(); ++r) {
    for (size_t c = 0; c < cells.cols(); ++c) {
      unsigned node = 1;
      while (node < 256) node = 2 * node + decoder.get(models[c].zero[node]);
      cells(r, c) = static_cast<uint16_t>((node & 0xff) << 8);
    }
  }
  return decoder.at_end();
}

}  // namespace

void put_exact(const Cells& cells, const std::vector<LayerShape>& layers, ByteWriter& out) {
  for (size_t l = 0; l < cells.keys.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      if (cells.absent > 0 && layers[l].window > 0) {
        out.put_varint(0);
        continue;
      }
      const Matrix<uint16_t>& rows = cells.of(kind)[l];
      const Bytes high = encode_high(rows);
      out.put_varint(high.size());
      out.put_bytes(high);
      for (uint16_t cell : rows.flat()) out.put(static_cast<uint8_t>(cell));
    }
  }
}

Result<Cells> get_exact(ByteReader& in, size_t first, std::vector<int32_t> tokens,
                        const std::vector<LayerShape>& layers) {
  Cells cells;
  cells.first = first;
  cells.tokens = std::move(tokens);
  size_t with_window = 0, absent = 0;  // layers, keys and values counted apart
  for (const LayerShape& layer : layers) {
    for (Kind kind : {Kind::key, Kind::value}) {
      KVS_ASSIGN(const uint64_t size, in.get_varint());
      with_window += layer.window > 0;
      if (size == 0 && layer.window > 0) {
        cells.of(kind).emplace_back(cells.count(), layer.width(kind));
        ++absent;
        continue;
      }
      KVS_ASSIGN(const ByteSpan high, in.take(size));
      KVS_ASSIGN(const ByteSpan low, in.take(cells.count() * layer.width(kind)));
      Matrix<uint16_t> rows(cells.count(), layer.width(kind));
      if (!decode_high(high, rows)) {
        return Error{ErrorKind::format, fmt::format("layer {} {}s: the coded bytes do not end with "
                                                    "the cells",
                                                    layer.layer, name(kind))};
      }
      for (size_t i = 0; i < rows.size(); ++i) rows.flat()[i] |= low[i];
      cells.of(kind).push_back(std::move(rows));
    }
  }
  if (in.left() > 0) {
    return Error{ErrorKind::format, fmt::format("{} bytes behind the cells", in.left())};
  }
  if (absent > 0 && absent < with_window) {
    return Error{ErrorKind::format, "only some of the layers with a window are there"};
  }
  if (absent > 0) cells.absent = cells.count();
  return cells;
}

}  // namespace kvsplice::session
