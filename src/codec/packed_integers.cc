#include "codec/packed_integers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "core/limits.h"
#include "range/block.h"
#include "range/coder_kernel.h"
#include "range/fit.h"

namespace kvsplice::codec {

namespace {

Error damaged(const std::string& name, std::string_view why) {
  return {ErrorKind::format, fmt::format("array '{}' of packed integers: {}", name, why)};
}

size_t rows_of(size_t count, size_t columns) { return count == 0 ? 0 : (count - 1) / columns + 1; }

// A table no class that is used has, where the bytes leave one out.
range::Costs unused_costs() {
  range::Costs costs;
  costs.fill(range::kLargestCost);
  costs[0] = 0;
  return costs;
}

void put_model(const range::Calibration& c, const std::vector<uint8_t>& classes, ByteWriter& out) {
  const auto [first, last] = std::minmax_element(classes.begin(), classes.end());
  out.put<uint8_t>(c.near_weight);
  out.put<uint8_t>(c.past_weight);
  out.put<uint8_t>(*first);
  out.put<uint8_t>(*last);
  for (size_t k = *first; k <= *last; ++k) out.put_array(std::span<const uint8_t>(c.costs[k]));
  for (uint32_t mean : c.mean) out.put_varint(mean);
}

Result<range::Model> get_model(size_t columns, ByteReader& in) {
  KVS_ASSIGN(const auto head, in.get_array<uint8_t>(4));
  const size_t first = head[2], last = head[3];
  if (std::max(head[0], head[1]) > range::kLargestWeight || first > last ||
      last >= range::kClasses) {
    return Error{ErrorKind::format, fmt::format("contexts {}", fmt::join(head, " "))};
  }
  range::Calibration c;
  c.centre.resize(columns);
  c.near_weight = head[0];
  c.past_weight = head[1];
  c.costs.fill(unused_costs());
  for (size_t k = first; k <= last; ++k) {
    KVS_ASSIGN(const auto costs, in.get_array<uint8_t>(range::kSymbols));
    std::copy(costs.begin(), costs.end(), c.costs[k].begin());
  }
  for (size_t g = 0; g < range::groups_of(columns); ++g) {
    KVS_ASSIGN(const uint64_t mean, in.get_varint());
    if (mean < 1 || mean > range::kLargestMean) {
      return Error{ErrorKind::format, fmt::format("a mean of {}", mean)};
    }
    c.mean.push_back(static_cast<uint32_t>(mean));
  }
  return range::make_model(c);
}

Result<Matrix<int32_t>> decode(ByteSpan bytes, size_t count, size_t columns) {
  ByteReader in(bytes);
  KVS_ASSIGN(const uint64_t there, in.get_varint());
  if (there != count) return Error{ErrorKind::format, fmt::format("{} are not there", count)};
  if (count == 0) {
    if (in.left() > 0) return Error{ErrorKind::format, "bytes behind none"};
    return Matrix<int32_t>(0, columns);
  }
  KVS_ASSIGN(const range::Model model, get_model(columns, in));
  if (count > range::most_codes(in.left())) {
    return Error{ErrorKind::format, fmt::format("{} bytes cannot hold {}", in.left(), count)};
  }
  Matrix<int32_t> codes(rows_of(count, columns), columns);
  KVS_TRY(range::decode_block(model, in, codes));
  const bool small = std::all_of(codes.flat().begin(), codes.flat().end(),
                                 [](int32_t code) { return code >= -128 && code <= 127; });
  if (!small) return Error{ErrorKind::format, "one is no byte"};
  return codes;
}

}  // namespace

StateArray pack_integers(std::span<const float> values, size_t columns) {
  ByteWriter out;
  out.put_varint(values.size());
  Matrix<int32_t> codes(rows_of(values.size(), columns), columns);
  std::copy(values.begin(), values.end(), codes.data());
  if (!values.empty()) {
    const range::Calibration calibration = range::calibrate(codes, std::vector<int32_t>(columns));
    const range::Model model = range::make_model(calibration).value();  // its own are good
    put_model(calibration, range::classes_of(model, codes.data(), codes.rows()), out);
    range::encode_block(model, codes, out);
  }
  const Bytes bytes = out.take();
  StateArray array{{bytes.size()}, std::vector<float>(bytes.size()), Storage::i8};
  std::transform(bytes.begin(), bytes.end(), array.values.begin(),
                 [](uint8_t byte) { return static_cast<int8_t>(byte); });
  return array;
}

Result<Matrix<int32_t>> unpack_integers(const State& state, const std::string& name, size_t count,
                                        size_t columns) {
  KVS_ASSIGN(const StateArray* array, find_array(state, name, {kAny}));
  for (float v : array->values) {
    if (v != std::round(v) || v < -128 || v > 127) return damaged(name, "it holds no bytes");
  }
  if (count > limits::kPackedIntegers) {
    return damaged(name, fmt::format("{} of them; at most {}", count, limits::kPackedIntegers));
  }
  Bytes bytes(array->values.size());
  std::transform(array->values.begin(), array->values.end(), bytes.begin(),
                 [](float v) { return static_cast<uint8_t>(static_cast<int8_t>(v)); });
  auto codes = decode(bytes, count, columns);
  if (!codes.ok()) return damaged(name, codes.error().message);
  return codes;
}

}  // namespace kvsplice::codec
