#include "range/coder_kernel.h"

#include <memory>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "range/coder_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "range/coder_kernel-inl.h"

#if HWY_ONCE

namespace kvsplice::range {

HWY_EXPORT(decode_rows);

namespace {

// For each set of eight lanes, byte indices that move the k-th 16-bit word to the k-th lane of the
// set. Lanes outside the set get any word.
struct Expansion {
  uint8_t bytes[256][16];
};
constexpr Expansion make_expansion() {
  Expansion table{};
  for (int set = 0; set < 256; ++set) {
    int word = 0;
    for (int lane = 0; lane < 8; ++lane) {
      table.bytes[set][2 * lane] = static_cast<uint8_t>(2 * word);
      table.bytes[set][2 * lane + 1] = static_cast<uint8_t>(2 * word + 1);
      if (set >> lane & 1 && lane < 7) ++word;
    }
  }
  return table;
}
constexpr Expansion kExpansion = make_expansion();

void put_escape(int32_t code, std::vector<uint8_t>& out) {
  uint32_t folded = (static_cast<uint32_t>(code) << 1) ^ static_cast<uint32_t>(code >> 31);
  for (; folded >= 0x80; folded >>= 7) out.push_back(static_cast<uint8_t>(folded | 0x80));
  out.push_back(static_cast<uint8_t>(folded));
}

// What divides by the frequencies of a class: floor(x / f) is floor(x (floor(2^46 / f) + 1) / 2^46)
// for all x below 2^18 f, since f is at most 2^14, and no product reaches 2^64.
constexpr int kDivisionBits = 46;
using Reciprocals = std::array<uint64_t, kSymbols>;

std::vector<Reciprocals> reciprocals_of(const Model& model) {
  std::vector<Reciprocals> all(model.classes.size());
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t s = 0; s < kSymbols; ++s) {
      all[i][s] = (uint64_t{1} << kDivisionBits) / model.classes[i].frequency[s] + 1;
    }
  }
  return all;
}

// Encoding runs from the last code to the first, and fills its words from the end.
class Encoder {
 public:
  // A code takes two words at most: one for its symbol, one for its low bits.
  explicit Encoder(size_t codes)
      : room_(2 * codes + 1),
        words_(std::make_unique_for_overwrite<uint16_t[]>(room_)),
        next_(words_.get() + room_) {
    states_.fill(kStateLow);
  }

  void put(size_t lane, const ClassTable& table, const Reciprocals& reciprocals, uint32_t symbol) {
    const uint32_t frequency = table.frequency[symbol];
    const uint64_t x = shrunk(lane, uint64_t{frequency} << (32 - kTotalBits));
    const uint64_t quotient = x * reciprocals[symbol] >> kDivisionBits;
    states_[lane] = static_cast<uint32_t>((quotient << kTotalBits) + (x - quotient * frequency) +
                                          table.start[symbol]);
  }

  // All values of `low` are alike likely.
  void put_low(size_t lane, uint32_t low, int bits) {
    const uint64_t x = shrunk(lane, uint64_t{1} << (32 - bits));
    states_[lane] = static_cast<uint32_t>(x << bits | low);
  }

  Encoded finish() const { return {states_, {next_, words_.get() + room_}, {}}; }

 private:
  // The lane's state, less its low word, which is written, unless it is below `limit`. The word is
  // stored in any case, since nobody foresees which case it is.
  uint64_t shrunk(size_t lane, uint64_t limit) {
    const uint32_t x = states_[lane];
    const bool large = x >= limit;
    next_[-1] = static_cast<uint16_t>(x);
    next_ -= large;
    return x >> (large ? 16 : 0);
  }

  std::array<uint32_t, kLanes> states_;
  size_t room_;
  std::unique_ptr<uint16_t[]> words_;
  uint16_t* next_;
};

// One state's view of the same stream, for the scalar decoder.
struct Scalar {
  std::array<uint32_t, kLanes> x;
  const uint16_t* words;

  void refill(size_t lane) {
    if (x[lane] < kStateLow) x[lane] = x[lane] << 16 | *words++;
  }
};

}  // namespace

std::vector<uint8_t> classes_of(const Model& model, const int32_t* codes, size_t rows) {
  std::vector<uint8_t> classes(rows * model.groups());
  Contexts contexts(model);
  for (size_t r = 0; r < rows; ++r, codes += model.columns) {
    contexts.begin_row();
    for (size_t g = 0; g < model.groups(); ++g) {
      classes[r * model.groups() + g] = static_cast<uint8_t>(contexts.class_of(g));
      uint32_t sum = 0;
      for (size_t c = g * kLanes; c < std::min(model.columns, (g + 1) * kLanes); ++c) {
        sum += cut_magnitude(codes[c] - model.centre[c]);
      }
      contexts.push(g, sum);
    }
    contexts.end_row();
  }
  return classes;
}

Encoded encode(const Model& model, const int32_t* codes, size_t rows) {
  const std::vector<uint8_t> classes = classes_of(model, codes, rows);
  const std::vector<Reciprocals> reciprocals = reciprocals_of(model);
  Encoder encoder(rows * model.columns);
  std::vector<int32_t> escaped;  // last first
  for (size_t r = rows; r-- > 0;) {
    const int32_t* row = codes + r * model.columns;
    for (size_t g = model.groups(); g-- > 0;) {
      const size_t index = classes[r * model.groups() + g];
      const ClassTable& table = model.classes[index];
      const size_t first = g * kLanes, lanes = std::min(kLanes, model.columns - first);
      std::array<int32_t, kLanes> own;
      for (size_t i = 0; i < lanes; ++i) own[i] = row[first + i] - model.centre[first + i];
      for (size_t i = lanes; table.low_bits > 0 && i-- > 0;) {
        const uint32_t low = static_cast<uint32_t>(own[i]) & ((1u << table.low_bits) - 1);
        encoder.put_low(i, low, table.low_bits);
      }
      for (size_t i = lanes; i-- > 0;) {
        const auto symbol = static_cast<uint32_t>(symbol_of(own[i] >> table.low_bits));
        encoder.put(i, table, reciprocals[index], symbol);
        if (symbol == kEscape) escaped.push_back(own[i]);
      }
    }
  }
  Encoded encoded = encoder.finish();
  for (size_t i = escaped.size(); i-- > 0;) put_escape(escaped[i], encoded.escapes);
  return encoded;
}

DecodeError decode_reference(const Model& model, const Encoded& encoded, size_t rows,
                             int32_t* codes) {
  const uint16_t* end = encoded.words.data() + encoded.words.size() - padding_words(model);
  Contexts contexts(model);
  detail::EscapeReader escapes(encoded.escapes);
  Scalar in{encoded.states, encoded.words.data()};
  for (size_t r = 0; r < rows; ++r, codes += model.columns) {
    contexts.begin_row();
    for (size_t g = 0; g < model.groups(); ++g) {
      const ClassTable& table = model.classes[contexts.class_of(g)];
      const size_t first = g * kLanes, lanes = std::min(kLanes, model.columns - first);
      std::array<int, kLanes> symbols;
      std::array<int32_t, kLanes> made;
      for (size_t i = 0; i < lanes; ++i) {
        const uint32_t slot = in.x[i] & ((1u << kTotalBits) - 1);
        int symbol = 0;
        while (symbol < kEscape && slot >= table.threshold[symbol + 1]) ++symbol;
        in.x[i] = table.frequency[symbol] * (in.x[i] >> kTotalBits) + slot - table.start[symbol];
        in.refill(i);
        symbols[i] = symbol;
        made[i] = quotient_of(symbol);
      }
      for (size_t i = 0; table.low_bits > 0 && i < lanes; ++i) {
        const uint32_t low = in.x[i] & ((1u << table.low_bits) - 1);
        made[i] = made[i] * (1 << table.low_bits) + static_cast<int32_t>(low);
        in.x[i] >>= table.low_bits;
        in.refill(i);
      }
      uint32_t sum = 0;
      for (size_t i = 0; i < lanes; ++i) {
        if (symbols[i] == kEscape) made[i] = escapes.next();
        sum += cut_magnitude(made[i]);
        codes[first + i] = made[i] + model.centre[first + i];
      }
      contexts.push(g, sum);
    }
    contexts.end_row();
    if (in.words > end) return DecodeError::words_missing;
    if (!escapes.ok()) return DecodeError::escape_bad;
  }
  const bool at_start =
      std::all_of(in.x.begin(), in.x.end(), [](uint32_t x) { return x == kStateLow; });
  return at_start && in.words == end && escapes.at_end() ? DecodeError::none
                                                         : DecodeError::left_over;
}

DecodeError decode(const Model& model, const Encoded& encoded, size_t rows, int32_t* codes) {
  return HWY_DYNAMIC_DISPATCH(decode_rows)(model, encoded, rows, codes, &kExpansion.bytes[0][0]);
}

}  // namespace kvsplice::range
#endif  // HWY_ONCE
