// Bytes that claim to be packed integers, behind a byte each of columns and of rows.
#include "codec/packed_integers.h"

#include <algorithm>

#include "support/driver.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.02;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t columns = 1 + data[0] % 40, count = columns * data[1];
  codec::State state;
  codec::StateArray& array = state["packed"];
  array.storage = codec::Storage::i8;
  for (size_t i = 2; i < size; ++i) array.values.push_back(static_cast<int8_t>(data[i]));
  array.dims = {array.values.size()};
  const auto values = codec::unpack_integers(state, "packed", count, columns);
  if (!values.ok()) return 0;
  fuzz::accept();
  const auto flat = values->flat();
  fuzz::demand(flat.size() >= count);
  const std::vector<float> floats(flat.begin(), flat.begin() + static_cast<ptrdiff_t>(count));
  state["packed"] = codec::pack_integers(floats, columns);
  const auto again = codec::unpack_integers(state, "packed", count, columns);
  fuzz::demand(again.ok() && std::ranges::equal(again->flat(), flat));
  return 0;
}
