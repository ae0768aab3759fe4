// Text that claims to be a codec's pipelines: printing is a fixed point, and units can be made.
#include "support/driver.h"
#include "support/pipeline_mutator.h"
#include "support/small_codecs.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.2;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = codec::parse_codec({reinterpret_cast<const char*>(data), size});
  if (!text.ok()) {
    fuzz::demand(!text.error().message.empty());
    return 0;
  }
  fuzz::accept();
  const std::string printed = codec::print(*text);
  const auto again = codec::parse_codec(printed);
  fuzz::demand(again.ok() && *again == *text && codec::print(*again) == printed);
  (void)codec::Codec::make_units(*text, fuzz::small_shape()).ok();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  return fuzz::hand_over(fuzz::mutate_pipeline({data, size}, random), data, most);
}
