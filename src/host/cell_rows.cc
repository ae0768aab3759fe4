#include "host/cell_rows.h"

#include <fmt/format.h>
#include <ggml.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "core/half.h"

namespace kvsplice::host {

namespace {

constexpr size_t kQ8Values = 32;  // a q8_0 block: f16 scale, 32 signed bytes
constexpr size_t kQ8Bytes = 34;

// Walsh-Hadamard transform of each `size` values, orthonormal and its own inverse.
void turn(std::span<float> row, size_t size) {
  if (size == 0) return;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  for (size_t first = 0; first < row.size(); first += size) {
    float* x = &row[first];
    for (size_t half = 1; half < size; half *= 2) {
      for (size_t i = 0; i < size; i += 2 * half) {
        for (size_t j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
    for (size_t i = 0; i < size; ++i) x[i] *= scale;
  }
}

uint16_t load_half(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

void decode_q8(const uint8_t* bytes, std::span<float> row) {
  for (size_t first = 0; first < row.size(); first += kQ8Values, bytes += kQ8Bytes) {
    const float scale = from_half(load_half(bytes));
    for (size_t i = 0; i < kQ8Values; ++i) {
      row[first + i] = scale * static_cast<int8_t>(bytes[2 + i]);
    }
  }
}

using Codes = std::array<int8_t, kQ8Values>;

Codes codes_of(std::span<const float> values, float scale) {
  const float inverse = scale >= std::numeric_limits<float>::min() ? 1 / scale : 0;
  Codes codes;
  for (size_t i = 0; i < kQ8Values; ++i) {
    codes[i] = static_cast<int8_t>(std::clamp(std::round(values[i] * inverse), -127.f, 127.f));
  }
  return codes;
}

// By which codes are nearest to the values. Of values that were codes before it is the very scale
// they had: rounding them to f16 meanwhile moves it by a tenth of the step to the next.
float best_scale(std::span<const float> values, const Codes& codes) {
  float product = 0, power = 0;
  for (size_t i = 0; i < kQ8Values; ++i) {
    product += values[i] * float(codes[i]);
    power += float(codes[i]) * float(codes[i]);
  }
  return power > 0 ? product / power : 0;
}

bool has_largest(const Codes& codes) {
  return std::any_of(codes.begin(), codes.end(), [](int8_t c) { return std::abs(c) == 127; });
}

struct Block {
  uint16_t scale = 0;  // f16
  Codes codes;
};

// As in llama.cpp's own blocks the largest value has the largest code: so they are found again.
Block block_of(std::span<const float> values, float tilt) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  const uint16_t scale = to_half(tilt * best_scale(values, codes_of(values, largest / 127)));
  const Codes codes = codes_of(values, from_half(scale));
  if (has_largest(codes)) return {scale, codes};
  return {to_half(largest / 127), codes_of(values, from_half(to_half(largest / 127)))};
}

std::vector<Block> blocks_of(std::span<const float> values, float tilt) {
  std::vector<Block> blocks;
  for (size_t first = 0; first < values.size(); first += kQ8Values) {
    blocks.push_back(block_of(values.subspan(first, kQ8Values), tilt));
  }
  return blocks;
}

// Whether the values are those of codes, but for the rounding of cells to f16.
bool were_codes(std::span<const float> values, const std::vector<Block>& blocks) {
  for (size_t i = 0; i < values.size(); ++i) {
    const Block& block = blocks[i / kQ8Values];
    const float scale = from_half(block.scale);
    if (std::abs(values[i] - scale * float(block.codes[i % kQ8Values])) > scale / 8) return false;
  }
  return true;
}

// How far cells decoded from the blocks are from these.
double distance(const std::vector<Block>& blocks, std::span<const float> cells) {
  std::vector<float> decoded(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const Block& block = blocks[i / kQ8Values];
    decoded[i] = from_half(block.scale) * float(block.codes[i % kQ8Values]);
  }
  turn(decoded, decoded.size());
  double sum = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    const double apart = double(from_half(to_finite_half(decoded[i]))) - cells[i];
    sum += apart * apart;
  }
  return sum;
}

// Where one cell outweighs the others, its rounding to f16 has scaled all that the head was turned
// into. The scales before are those whose cells are the ones at hand.
std::vector<Block> turned_blocks(std::span<const float> values, std::span<const float> cells) {
  constexpr int kSteps = 12;
  constexpr float kStep = 1.f / (1 << 14);  // an eighth of that between two scales; f16 rounds by 8
  std::vector<Block> best = blocks_of(values, 1);
  if (!were_codes(values, best)) return best;
  double least = distance(best, cells);
  for (int step = 1; step <= kSteps && least > 0; ++step) {
    for (const float tilt : {1 + float(step) * kStep, 1 - float(step) * kStep}) {
      std::vector<Block> blocks = blocks_of(values, tilt);
      const double far = distance(blocks, cells);
      if (far < least) std::tie(least, best) = std::pair(far, std::move(blocks));
    }
  }
  return best;
}

// row: as turned; cells: before.
void encode_q8(std::span<const float> row, std::span<const float> cells, size_t turned,
               uint8_t* to) {
  const size_t side = turned > 0 ? turned : row.size();
  for (size_t first = 0; first < row.size(); first += side) {
    const auto values = row.subspan(first, side);
    for (const Block& block :
         turned > 0 ? turned_blocks(values, cells.subspan(first, side)) : blocks_of(values, 1)) {
      std::memcpy(to, &block.scale, sizeof block.scale);
      std::memcpy(to + sizeof block.scale, block.codes.data(), kQ8Values);
      to += kQ8Bytes;
    }
  }
}

}  // namespace

const char* name(CellType type) {
  switch (type) {
    case CellType::f32:
      return "f32";
    case CellType::f16:
      return "f16";
    case CellType::q8_0:
      return "q8_0";
  }
  return "another type";
}

Result<size_t> row_bytes(int32_t type, size_t width) {
  if (type == int32_t(CellType::f32)) return 4 * width;
  if (type == int32_t(CellType::f16)) return 2 * width;
  if (type == int32_t(CellType::q8_0) && width % kQ8Values == 0) {
    return width / kQ8Values * kQ8Bytes;
  }
  return Error{ErrorKind::unsupported,
               fmt::format("rows of {} values of ggml type {}; f32 (0), f16 (1) and q8_0 (8, in "
                           "multiples of 32) are handled",
                           width, type)};
}

Result<RowLayout> row_layout(int32_t type, const LayerShape& layer, Kind kind, uint32_t turned) {
  const auto width = static_cast<size_t>(layer.width(kind));
  KVS_TRY(row_bytes(type, width));
  const auto dim = static_cast<uint32_t>(layer.heads_dim(kind));
  if (turned != 0 && (!std::has_single_bit(turned) || dim % turned != 0)) {
    return Error{ErrorKind::format,
                 fmt::format("{}s of layer {} are said to be turned by {} values; legal: 0, and "
                             "powers of two that divide {}",
                             name(kind), layer.layer, turned, dim)};
  }
  return RowLayout{static_cast<CellType>(type), width, turned};
}

void decode_row(const uint8_t* from, const RowLayout& layout, std::span<float> row) {
  switch (layout.type) {
    case CellType::f32:
      std::memcpy(row.data(), from, row.size_bytes());
      break;
    case CellType::f16:
      for (size_t c = 0; c < row.size(); ++c) row[c] = from_half(load_half(from + 2 * c));
      break;
    case CellType::q8_0:
      decode_q8(from, row);
      break;
  }
  turn(row, layout.turned);
}

void encode_row(std::span<float> row, const RowLayout& layout, uint8_t* to) {
  const std::vector<float> cells(row.begin(), row.end());
  turn(row, layout.turned);
  switch (layout.type) {
    case CellType::f32:
      std::memcpy(to, row.data(), row.size_bytes());
      break;
    case CellType::f16:
      for (size_t c = 0; c < row.size(); ++c) {
        const uint16_t half = to_finite_half(row[c]);
        std::memcpy(to + 2 * c, &half, sizeof half);
      }
      break;
    case CellType::q8_0:
      encode_q8(row, cells, layout.turned, to);
      break;
  }
}

void through_q4_0(std::span<float> row, uint32_t turned) {
  const auto width = static_cast<int64_t>(row.size());
  std::vector<uint8_t> bytes(ggml_row_size(GGML_TYPE_Q4_0, width));
  turn(row, turned);
  ggml_quantize_chunk(GGML_TYPE_Q4_0, row.data(), bytes.data(), 0, 1, width, nullptr);
  ggml_get_type_traits(GGML_TYPE_Q4_0)->to_float(bytes.data(), row.data(), width);
  turn(row, turned);
}

}  // namespace kvsplice::host
