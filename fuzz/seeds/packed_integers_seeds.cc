#include <algorithm>
#include <cmath>
#include <tuple>

#include "codec/packed_integers.h"
#include "core/random.h"
#include "seeds.h"

namespace kvsplice::fuzz {

Seeds packed_integers_seeds() {
  return {
      "packed_integers", [](const std::string&) -> Result<std::vector<Bytes>> {
        std::vector<Bytes> seeds;
        Random random(1);
        for (const auto& [columns, rows, scale] : {std::tuple{1, 1, 3.},
                                                   {8, 4, 1.},
                                                   {3, 20, 40.},
                                                   {17, 9, .3},
                                                   {40, 6, 8.},
                                                   {5, 0, 1.}}) {
          std::vector<float> values(static_cast<size_t>(columns * rows));
          for (float& v : values) {
            v = static_cast<float>(std::clamp(std::round(scale * random.normal()), -128., 127.));
          }
          const codec::StateArray packed =
              codec::pack_integers(values, static_cast<size_t>(columns));
          Bytes seed = {static_cast<uint8_t>(columns - 1), static_cast<uint8_t>(rows)};
          for (float v : packed.values) seed.push_back(static_cast<uint8_t>(static_cast<int>(v)));
          seeds.push_back(std::move(seed));
        }
        return seeds;
      }};
}

}  // namespace kvsplice::fuzz
