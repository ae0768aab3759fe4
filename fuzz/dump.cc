// A file that claims to be a dump: all of its rows.
#include "extract/dump.h"

#include "support/driver.h"
#include "support/gguf_mutator.h"
#include "support/memory_file.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.2;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::MemoryFile file;
  if (!file.fill({data, size})) return 0;
  const auto dump = extract::Dump::open(file.path());
  if (!dump.ok()) return 0;
  fuzz::accept();
  const size_t n = dump->info().tokens();
  for (int layer : dump->info().layers) {
    for (host::Signal signal : dump->info().signals) {
      const auto rows = dump->read(signal, layer);
      fuzz::demand(!rows.ok() || rows->rows() == n);
    }
    (void)dump->read_queries(layer, n / 2, n - n / 2).ok();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  return fuzz::hand_over(fuzz::mutate_gguf({data, size}, random), data, most);
}
