// A file that claims to be a live cache: what is taken of it is written as it was, and attention
// can read it and go on.
#include "core/threads.h"
#include "support/driver.h"
#include "support/live_layers.h"

using namespace kvsplice;
using namespace kvsplice::live;

const double fuzz::least_accepted = 0.2;

namespace {

constexpr size_t kChecksum = 8, kLengthAt = 12;

// Where the header, the list of tokens and the layers end.
std::vector<size_t> ends_of(const SavedCacheInfo& info, const uint8_t* data) {
  uint32_t header;
  std::memcpy(&header, data + kLengthAt, sizeof header);
  std::vector<size_t> ends = {header};
  ends.push_back(header + sizeof(int32_t) * (info.cells() + info.waiting) + kChecksum);
  for (size_t l = 0; l < info.layers.size(); ++l) {
    ends.push_back(ends.back() + size_t(info.layer_bytes(l)) + kChecksum);
  }
  return ends;
}

void attend(LayerCache& cache, size_t layer) {
  const LayerShape& l = fuzz::live_form().shape().layers[layer];
  const auto heads = size_t(fuzz::live_form().shape().query_heads_of(int(layer)));
  Matrix<float> keys(1, size_t(l.width(Kind::key))), values(1, size_t(l.width(Kind::value)));
  Matrix<float> queries(1, heads * size_t(l.key_dim)), out(1, heads * size_t(l.value_dim));
  for (float& q : queries.flat()) q = 0.1f;
  if (cache.append(keys, values).ok()) cache.attend(queries, 1, {}, out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool alone = (set_thread_count(1), true);
  if (!alone) return 0;
  const auto saved = SavedCache::open(view_source({data, size}), "the input");
  if (!saved.ok()) return 0;
  fuzz::demand(saved->tokens().ok() || !saved->check().ok());
  auto layers = saved->layers(fuzz::live_form());
  if (!layers.ok()) return 0;
  fuzz::accept();
  const std::vector<size_t> ends = ends_of(saved->info(), data);
  for (size_t l = 0; l < layers->size(); ++l) {
    ByteWriter again;
    (*layers)[l].write(again);
    fuzz::demand(std::equal(again.bytes().begin(), again.bytes().end(), data + ends[l + 1]));
    attend((*layers)[l], l);
  }
  return 0;
}

// One part changed and sealed.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  const auto saved = SavedCache::open(view_source({data, size}), "the input");
  if (!saved.ok()) return fuzz::hand_over(fuzz::mutate_bytes({data, size}), data, most);
  const std::vector<size_t> ends = ends_of(saved->info(), data);
  const size_t part = random.below(ends.size());
  const size_t begin = part == 0 ? 0 : ends[part - 1], end = ends[part] - kChecksum;
  if (begin == end) return size;
  const Bytes changed = fuzz::mutate_bytes({data + begin, end - begin}, 0);
  std::copy(changed.begin(), changed.end(), data + begin);
  const uint64_t checksum = hash64({data + begin, end - begin});
  std::memcpy(data + end, &checksum, sizeof checksum);
  return size;
}
