// usage: make_golden FOLDER: makes the files of every case below with the program as it is. Where a
// file is, nothing is written: files of released formats stay what they are.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <set>

#include "../conformance/generated_cache.h"
#include "adapters.h"
#include "core/threads.h"
#include "solve/blas_core.h"

namespace kvsplice::golden {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTokens = 32;
constexpr int kWindow = 16;

ModelShape even() { return codec::make_shape({{2, 8, 8}, {2, 8, 8}, {2, 8, 8}}); }

// Heads differ by layer, keys are wider than values, and rotary embeddings are of all kinds: scaled
// as YaRN does, of adjacent pairs and a part of a head, none.
ModelShape uneven() {
  ModelShape shape = codec::make_shape({{3, 12, 12}, {1, 5, 5}, {2, 12, 6}});
  shape.query_heads = 6;
  shape.layers[0].rope.magnitude = 1.1f;
  shape.layers[1].rope.pairs = Rope::Pairs::adjacent;
  shape.layers[2].rope = {};
  return shape;
}

ModelShape sliding() {
  ModelShape shape = even();
  shape.layers[0].window = shape.layers[2].window = kWindow;
  return shape;
}

// Two layers carry states, one of which has no recurrence.
ModelShape hybrid() {
  ModelShape shape = even();
  shape.recurrent = {{1, 6, 40}, {3, 9, 0}};
  return shape;
}

// Attention takes values from keys, which are rotated in their last columns alone.
ModelShape latent() {
  ModelShape shape = codec::make_shape({{1, 24, 0}, {1, 24, 0}});
  for (LayerShape& layer : shape.layers) {
    layer.rope.first = 16;
    layer.rope.frequency.resize(4);
  }
  return shape;
}

// Rows of the same token have much in common that no other unit tells of, so that recall pays.
KvBlock<float> generate(const ModelShape& shape, size_t tokens, uint64_t seed) {
  KvBlock<float> block = codec::generate_block(shape, tokens, seed);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const LayerShape& layer : shape.layers) {
      const uint64_t unit = 100 + 2 * uint64_t(layer.layer) + (kind == Kind::key ? 0 : 1);
      const auto causes = codec::token_causes(block.tokens, size_t(layer.width(kind)), unit);
      const auto more = codec::rows_of_causes(causes, size_t(layer.kv_heads), unit);
      Matrix<float>& rows = block.of(kind)[size_t(layer.layer)];
      for (size_t i = 0; i < rows.size(); ++i) rows.flat()[i] += more.flat()[i];
    }
  }
  return block;
}

Result<Codec> fit(const std::string& pipeline, const ModelShape& shape) {
  KVS_ASSIGN(const codec::CodecText text, codec::parse_codec(pipeline));
  const KvBlock<float> rows = generate(shape, codec::kFitTokens, 1);
  const codec::Embeddings embeddings = codec::generate_embeddings();
  KVS_ASSIGN(Codec codec,
             codec::fit_codec(text, shape, codec::BlockSource(rows, shape), &embeddings, {}));
  return codec;
}

struct Case {
  std::string name;
  std::string pipeline;  // empty: a lossless session alone
  ModelShape (*shape)() = even;
  std::vector<int32_t> pending = {};
  bool turns = false;                                             // the session has been extended
  session::StateEncoding states = session::StateEncoding::exact;  // of hybrids
};

// What `kvsplice calibrate` fits if nothing else is said.
const char kDefault[] =
    "layers(history=3) | focus | fisher | klt(stored=packed) | step(delta=0.6,recall=512) | range";

// Every stage, with and without an entropy coder behind it; every kind of record and model.
const Case kCases[] = {
    {"default", kDefault},
    {"default-sliding", kDefault, sliding, {7, 8, 999}},
    {"default-turns", kDefault, uneven, {5}, true},

    {"lossless", "", even, {0, 300}},
    {"lossless-sliding", "", sliding},
    {"lossless-turns", "", uneven, {}, true},

    {"curve-step", "curve(knots=6) | step(delta=0.3)"},
    {"dct", "dct(count=10)"},
    {"dct-low", "dct(count=8,order=low,type=f32)"},
    {"exact", "exact"},
    {"exact-range", "exact(history=2,ridge=0.01) | range", uneven},
    {"exact-sliding", "exact | range", sliding, {3}},
    {"f16", "f16"},
    {"f16-range", "f16 | range"},
    {"fisher-step", "fisher(power=0.5,units=0,floor=0.000001) | klt | step(delta=0.3)"},
    {"flow-step", "flow(epochs=1,hidden=4,blocks=2) | klt | step(delta=0.3) | range"},
    {"focus-step", "layers(history=1) | focus(keys=1,values=1,limit=2) | klt | step | range"},
    {"fourier", "fourier(count=8)"},
    {"fourier-band", "fourier(count=6,band=20,seed=3,type=f32)"},
    {"hadamard", "hadamard"},
    {"hadamard-uniform", "hadamard | uniform(bits=4)"},
    {"hybrid", "klt | step(delta=0.3) | range", hybrid, {}, false, session::StateEncoding::f16},
    {"hybrid-lossless", "", hybrid, {5}},
    {"hybrid-q8", "", hybrid, {}, false, session::StateEncoding::q8},
    {"hybrid-turns", "klt | step(delta=0.3) | range", hybrid, {}, true},
    {"klt", "klt"},
    {"klt-head", "klt(scope=head,rank=5) | f16"},
    {"klt-model", "klt(scope=model,rank=24) | step(delta=0.3) | range"},
    {"klt-packed", "klt(stored=packed) | step(delta=0.3)"},
    {"klt-range", "klt | step(delta=0.3) | range", uneven},
    {"klt-sliding", "klt | step(delta=0.3) | range", sliding},
    {"layers", "layers"},
    {"layers-directions", "layers(history=1,directions=5) | klt | step(delta=0.3) | range", uneven},
    {"latent", "layers(history=1) | klt | step(delta=0.3) | range", latent},
    {"latent-lossless", "", latent},
    {"layers-range", "layers(history=0,noise=0.02) | klt | step | range"},
    {"layers-rank", "layers(history=2,embedding=off,rank=3,noise=0.01) | step"},
    {"lloydmax", "lloydmax(bits=3)"},
    {"lloydmax-range", "klt | lloydmax(bits=4) | range"},
    {"mixed", "k: hadamard | uniform(bits=8) ; v: klt | step(delta=0.3) | range"},
    {"pca", "pca(rank=4)"},
    {"rotate", "k: rotate | klt(rank=6) ; v: f16"},
    {"rotmean", "k: rotate | rotmean ; v: rotmean"},
    {"siren", "siren(trainer=varpro,epochs=1,hidden=10,layers=0,omega=30)"},
    {"siren-layer", "siren(trainer=adam,epochs=20,hidden=6,layers=1,omega=10,share=layer)"},
    {"spline-step", "spline(epochs=1,loss=rate) | klt | step(delta=0.3) | range"},
    {"step", "step"},
    {"step-range", "step(delta=0.1,offset=0.5,of=rows) | range"},
    {"step-recall", "klt | step(delta=0.6,recall=256) | range"},
    {"svd", "svd(ratio=2)"},
    {"svd-rank", "svd(rank=4)"},
    {"rotmean-widths",
     "k: rotmean(rest=on) | rotate | klt | widths(delta=0.5) ; v: klt | widths(most=3)", uneven},
    {"uniform", "uniform(bits=2,block=8)"},
    {"uniform-3", "uniform(bits=3,block=1024)"},
    {"uniform-range", "uniform(bits=4) | range"},
    {"widths", "widths(delta=0.2)"},
    {"widths-grades", "klt | widths(delta=0.3,grades=4,spread=3)"},
};

Result<> check_free(const std::string& path) {
  for (const char* extension : {".gguf", ".golden", ".kvz"}) {
    if (fs::exists(path + extension)) {
      return Error{ErrorKind::usage, path + extension + " is there; nothing is written over it"};
    }
  }
  return {};
}

Result<> add_block(const Codec& codec, const KvBlock<float>& block,
                   const codec::Embeddings& embeddings, GoldenFile& file) {
  if (codec.needs_embeddings()) {
    Matrix<float> rows(block.count(), size_t(embeddings.dim));
    KVS_TRY(embeddings.lookup(block.tokens, rows));
    file.put("embeddings", rows);
  }
  KVS_ASSIGN(const Bytes bytes, encode_block(codec, block, embeddings));
  file.put<uint8_t>("block", ByteSpan(bytes));
  KVS_ASSIGN(const Units<int32_t> codes, decode_codes(codec, file));
  KVS_ASSIGN(const Units<float> rows, decode_block(codec, file));
  file.put_units("codes", codes);
  file.put_units("rows", rows);
  return {};
}

Result<> make(const Case& wanted, const std::string& path) {
  KVS_TRY(check_free(path));
  const ModelShape shape = wanted.shape();
  const KvBlock<float> block = generate(shape, kTokens, 2);
  const codec::Embeddings embeddings = codec::generate_embeddings();
  GoldenFile file;
  file.put<int32_t>("tokens", block.tokens);
  file.put<int32_t>("positions", block.positions);
  std::optional<Codec> codec;
  if (!wanted.pipeline.empty()) {
    KVS_ASSIGN(const Codec fitted, fit(wanted.pipeline, shape));
    KVS_TRY(fitted.save(path + ".gguf"));
    KVS_ASSIGN(codec, Codec::load(path + ".gguf"));
    KVS_TRY(add_block(*codec, block, embeddings, file));
  }
  KVS_TRY(pack_session(path + ".kvz", shape, codec ? &*codec : nullptr, cells_of(block, shape),
                       wanted.pending, embeddings, wanted.turns, wanted.states));
  KVS_ASSIGN(const Restored met, read_session(path + ".kvz", codec ? &*codec : nullptr, file));
  file.put<int32_t>("pending", met.pending);
  file.put<int32_t>("absent", std::vector<int32_t>{int32_t(met.absent)});
  file.put_units("cells", met.cells);
  put_states(met.states, file);
  return file.write(path + ".golden");
}

Result<> check_stages() {
  std::set<std::string> missing;
  for (const codec::StageInfo& stage : codec::stage_table()) missing.insert(stage.name);
  for (const Case& one : kCases) {
    if (one.pipeline.empty()) continue;
    KVS_ASSIGN(const codec::CodecText text, codec::parse_codec(one.pipeline));
    for (Kind kind : {Kind::key, Kind::value}) {
      for (const codec::StageText& stage : text.of(kind)) missing.erase(stage.name);
    }
  }
  if (missing.empty()) return {};
  return Error{ErrorKind::usage, "no case has the stage " + *missing.begin()};
}

Result<> make_all(const fs::path& folder) {
  KVS_TRY(check_stages());
  fs::create_directories(folder);
  for (const Case& one : kCases) {
    if (const auto made = make(one, (folder / one.name).string()); !made.ok()) {
      return Error{made.error().kind, one.name + ": " + made.error().message};
    }
  }
  return {};
}

}  // namespace
}  // namespace kvsplice::golden

int main(int argc, char** argv) {
  using namespace kvsplice;
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_golden FOLDER\n");
    return 2;
  }
  (void)correct_blas_core(argv).ok();  // its oldest kernels read behind the ends of matrices
  set_thread_count(1);
  const auto made = golden::make_all(argv[1]);
  if (!made.ok()) std::fprintf(stderr, "%s\n", made.error().message.c_str());
  return made.ok() ? 0 : 1;
}
