// Decoder of `range`, compiled once per SIMD target (see coder_kernel.cc).
#if defined(KVSPLICE_RANGE_CODER_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_RANGE_CODER_KERNEL_INL_H_
#undef KVSPLICE_RANGE_CODER_KERNEL_INL_H_
#else
#define KVSPLICE_RANGE_CODER_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "range/coder_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::range::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE

DecodeError decode_rows(const Model& model, const Encoded& encoded, size_t rows, int32_t* codes,
                        const uint8_t*) {
  return decode_reference(model, encoded, rows, codes);
}

#else

// A group of eight is one vector, or two of four lanes.
using U32 = hn::CappedTag<uint32_t, kLanes>;
using I32 = hn::RebindToSigned<U32>;
using U16 = hn::Rebind<uint16_t, U32>;
using VU = hn::Vec<U32>;
using VI = hn::Vec<I32>;
constexpr size_t kWidth = hn::MaxLanes(U32());
constexpr size_t kParts = kLanes / kWidth;

// Lane by lane table[index], index < 8.
HWY_INLINE VU look_up(const uint16_t* table, VI index) {
  const hn::Repartition<uint8_t, U32> bytes;
  const auto entries = hn::LoadDup128(bytes, reinterpret_cast<const uint8_t*>(table));
  // Bytes 2i and 2i + 1 of the table, then two zeros.
  const VI where =
      hn::Add(hn::Mul(index, hn::Set(I32(), 0x0202)), hn::Set(I32(), int32_t(0x80800100u)));
  return hn::BitCast(U32(), hn::TableLookupBytesOr0(entries, hn::BitCast(bytes, where)));
}

// Symbols and their ranges of one vector of slots.
struct Symbols {
  VI index;
  VU start, frequency;
};

HWY_INLINE Symbols find(const ClassTable& table, VI slot) {
  VI index = hn::Set(I32(), 7);
  for (size_t s = 1; s < 8; ++s) {
    const VI bound = hn::Set(I32(), static_cast<int32_t>(table.threshold[s]));
    index = hn::Add(index, hn::VecFromMask(I32(), hn::Lt(slot, bound)));
  }
  const VI bound = hn::Set(I32(), static_cast<int32_t>(table.threshold[8]));
  if (HWY_LIKELY(hn::AllTrue(I32(), hn::Lt(slot, bound)))) {
    return {index, look_up(table.start.data(), index), look_up(table.frequency.data(), index)};
  }
  index = hn::Set(I32(), kEscape);
  for (size_t s = 1; s < kSymbols; ++s) {
    const VI threshold = hn::Set(I32(), static_cast<int32_t>(table.threshold[s]));
    index = hn::Add(index, hn::VecFromMask(I32(), hn::Lt(slot, threshold)));
  }
  const VI low = hn::And(index, hn::Set(I32(), 7));
  const auto high = hn::RebindMask(U32(), hn::Gt(index, hn::Set(I32(), 7)));
  return {
      index, hn::IfThenElse(high, look_up(&table.start[8], low), look_up(&table.start[0], low)),
      hn::IfThenElse(high, look_up(&table.frequency[8], low), look_up(&table.frequency[0], low))};
}

// Lanes below 2^16 take the next words, in the order of the lanes. `expand` has 16 bytes for each
// set of lanes: where in the words each lane finds its own.
HWY_INLINE VU refill(VU x, const uint16_t*& words, const uint8_t* expand) {
  const auto empty = hn::Eq(hn::ShiftRight<16>(x), hn::Zero(U32()));
  uint8_t set[8] = {};
  hn::StoreMaskBits(U32(), empty, set);
  const hn::Repartition<uint8_t, U16> bytes;
  const auto next = hn::BitCast(bytes, hn::LoadU(U16(), words));
  const auto placed = hn::TableLookupBytes(next, hn::LoadU(bytes, expand + 16 * set[0]));
  const VU word = hn::PromoteTo(U32(), hn::BitCast(U16(), placed));
  words += hn::CountTrue(U32(), empty);
  return hn::IfThenElse(empty, hn::Or(hn::ShiftLeft<16>(x), word), x);
}

class Decoder {
 public:
  Decoder(const Encoded& encoded, const uint8_t* expand)
      : words_(encoded.words.data()), escapes_(encoded.escapes), expand_(expand) {
    for (size_t p = 0; p < kParts; ++p) x_[p] = hn::LoadU(U32(), &encoded.states[p * kWidth]);
  }

  // Decodes the first `lanes` columns of a group; returns the sum of their magnitudes.
  template <bool kFull>
  HWY_INLINE uint32_t group(const ClassTable& table, const int32_t* centre, int32_t* codes,
                            size_t lanes) {
    VI slot[kParts];
    bool quiet = true;
    const VI zeros = hn::Set(I32(), static_cast<int32_t>(table.threshold[1]));
    for (size_t p = 0; p < kParts; ++p) {
      slot[p] = hn::BitCast(I32(), hn::And(x_[p], hn::Set(U32(), (1u << kTotalBits) - 1)));
      if (!kFull) slot[p] = hn::IfThenElseZero(hn::RebindMask(I32(), active(p, lanes)), slot[p]);
      quiet = quiet && hn::AllTrue(I32(), hn::Lt(slot[p], zeros));
    }
    HWY_ALIGN int32_t made[kLanes];
    int32_t* out = kFull ? codes : made;
    uint32_t sum = 0;
    if (quiet && table.low_bits == 0) {
      const VU frequency = hn::Set(U32(), table.frequency[0]);
      for (size_t p = 0; p < kParts; ++p) {
        step<kFull>(p, hn::BitCast(U32(), slot[p]), hn::Zero(U32()), frequency, lanes);
        hn::StoreU(hn::LoadU(I32(), centre + p * kWidth), I32(), out + p * kWidth);
      }
    } else {
      sum = symbols<kFull>(table, slot, centre, out, lanes);
    }
    if (!kFull) std::copy_n(made, lanes, codes);
    return sum;
  }

  const uint16_t* words() const { return words_; }
  bool escapes_ok() const { return escapes_.ok(); }

  bool at_start() const {
    bool all = escapes_.at_end();
    for (size_t p = 0; p < kParts; ++p) {
      all = all && hn::AllTrue(U32(), hn::Eq(x_[p], hn::Set(U32(), kStateLow)));
    }
    return all;
  }

 private:
  static HWY_INLINE hn::Mask<U32> active(size_t part, size_t lanes) {
    return hn::FirstN(U32(), lanes > part * kWidth ? lanes - part * kWidth : 0);
  }

  template <bool kFull>
  HWY_INLINE void step(size_t p, VU slot, VU start, VU frequency, size_t lanes) {
    const VU next =
        hn::Add(hn::Mul(frequency, hn::ShiftRight<kTotalBits>(x_[p])), hn::Sub(slot, start));
    x_[p] = refill(kFull ? next : hn::IfThenElse(active(p, lanes), next, x_[p]), words_, expand_);
  }

  template <bool kFull>
  HWY_INLINE uint32_t symbols(const ClassTable& table, const VI* slot, const int32_t* centre,
                              int32_t* out, size_t lanes) {
    VI index[kParts], code[kParts];
    bool escaped = false;
    for (size_t p = 0; p < kParts; ++p) {
      const Symbols found = find(table, slot[p]);
      step<kFull>(p, hn::BitCast(U32(), slot[p]), found.start, found.frequency, lanes);
      index[p] = found.index;
      code[p] = quotients(found.index);
      escaped |= !hn::AllFalse(I32(), hn::Eq(found.index, hn::Set(I32(), kEscape)));
    }
    if (table.low_bits > 0) append_low_bits<kFull>(table.low_bits, code, lanes);
    if (HWY_UNLIKELY(escaped)) replace_escapes(index, code);
    VI sum = hn::Zero(I32());
    for (size_t p = 0; p < kParts; ++p) {
      const VI limit = hn::Set(I32(), kLargestMagnitude);
      sum = hn::Add(sum, hn::Min(hn::Abs(code[p]), limit));
      hn::StoreU(hn::Add(code[p], hn::LoadU(I32(), centre + p * kWidth)), I32(), out + p * kWidth);
    }
    return static_cast<uint32_t>(hn::GetLane(hn::SumOfLanes(I32(), sum)));
  }

  static HWY_INLINE VI quotients(VI index) {
    const VI one = hn::Set(I32(), 1);
    const VI half = hn::ShiftRight<1>(hn::Add(index, one));
    const VI sign = hn::Sub(hn::Zero(I32()), hn::And(index, one));
    return hn::Sub(hn::Xor(half, sign), sign);
  }

  template <bool kFull>
  HWY_INLINE void append_low_bits(int bits, VI* code, size_t lanes) {
    for (size_t p = 0; p < kParts; ++p) {
      const VU low = hn::And(x_[p], hn::Set(U32(), (1u << bits) - 1));
      code[p] = hn::Add(hn::ShiftLeftSame(code[p], bits), hn::BitCast(I32(), low));
      const VU next = hn::ShiftRightSame(x_[p], bits);
      if (kFull) {
        x_[p] = refill(next, words_, expand_);
      } else {
        x_[p] = refill(hn::IfThenElse(active(p, lanes), next, x_[p]), words_, expand_);
        code[p] = hn::IfThenElseZero(hn::RebindMask(I32(), active(p, lanes)), code[p]);
      }
    }
  }

  HWY_NOINLINE void replace_escapes(const VI* index, VI* code) {
    HWY_ALIGN int32_t symbol[kWidth], value[kWidth];
    for (size_t p = 0; p < kParts; ++p) {
      hn::Store(index[p], I32(), symbol);
      hn::Store(code[p], I32(), value);
      for (size_t i = 0; i < kWidth; ++i) {
        if (symbol[i] == kEscape) value[i] = escapes_.next();
      }
      code[p] = hn::Load(I32(), value);
    }
  }

  VU x_[kParts];
  const uint16_t* words_;
  detail::EscapeReader escapes_;
  const uint8_t* expand_;
};

DecodeError decode_rows(const Model& model, const Encoded& encoded, size_t rows, int32_t* codes,
                        const uint8_t* expand) {
  const uint16_t* end = encoded.words.data() + encoded.words.size() - padding_words(model);
  const size_t full = model.columns / kLanes, rest = model.columns % kLanes;
  Contexts contexts(model);
  Decoder decoder(encoded, expand);
  for (size_t r = 0; r < rows; ++r, codes += model.columns) {
    contexts.begin_row();
    for (size_t g = 0; g < full; ++g) {
      const ClassTable& table = model.classes[contexts.class_of(g)];
      const size_t at = g * kLanes;
      contexts.push(g, decoder.group<true>(table, &model.centre[at], codes + at, kLanes));
    }
    if (rest > 0) {
      const ClassTable& table = model.classes[contexts.class_of(full)];
      const size_t at = full * kLanes;
      contexts.push(full, decoder.group<false>(table, &model.centre[at], codes + at, rest));
    }
    contexts.end_row();
    if (decoder.words() > end) return DecodeError::words_missing;
    if (!decoder.escapes_ok()) return DecodeError::escape_bad;
  }
  return decoder.words() == end && decoder.at_start() ? DecodeError::none : DecodeError::left_over;
}

#endif

}  // namespace kvsplice::range::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
