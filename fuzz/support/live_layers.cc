#include "support/live_layers.h"

#include "support/small_codecs.h"
#include "tests/conformance/generated_cache.h"

namespace kvsplice::fuzz {

namespace {

ModelShape live_shape() {
  ModelShape shape = small_shape();
  shape.layers[1].window = 300;
  return shape;
}

live::LiveForm fit() {
  const KvBlock<float> rows = codec::generate_block(live_shape(), 96, 1);
  const codec::BlockSource source(rows, live_shape());
  const auto text = codec::parse_codec(
      "k: rotmean(rest=on)|rotate|klt|widths(grades=4); v: klt|widths(grades=4)");
  return live::LiveForm::of(
             codec::fit_codec(text.value(), live_shape(), source, nullptr, {}).value())
      .value();
}

}  // namespace

const live::LiveForm& live_form() {
  static const live::LiveForm form = fit();
  return form;
}

Result<std::vector<live::LayerCache>> live_layers(size_t tokens) {
  constexpr size_t kPiece = 50;
  const KvBlock<float> rows = codec::generate_block(live_shape(), tokens, 2);
  std::vector<live::LayerCache> layers;
  for (size_t l = 0; l < live_shape().layers.size(); ++l) {
    layers.emplace_back(live_form(), l, live::LiveOptions{2, 20});
    for (size_t at = 0; at < tokens; at += kPiece) {
      const size_t n = std::min(kPiece, tokens - at);
      KVS_TRY(layers.back().append(rows.keys[l].view().row_range(at, n),
                                   rows.values[l].view().row_range(at, n)));
    }
  }
  return layers;
}

}  // namespace kvsplice::fuzz
