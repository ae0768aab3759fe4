// All that the golden tests and their maker know of codecs and sessions: where the library changes,
// this file changes and the two stay.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>

#include "codec/codec.h"
#include "codec/pack.h"
#include "core/half.h"
#include "core/random.h"
#include "golden_file.h"
#include "session/session.h"

namespace kvsplice::golden {

using codec::Codec;

inline std::string unit_name(Kind kind, int layer) {
  const std::string where = layer < 0 ? "all" : std::to_string(layer);
  return (kind == Kind::key ? "k." : "v.") + where;
}

// Whether it gives cells back to the bit; its rows are cells then, in float.
inline bool keeps_cells(const Codec& codec) { return codec.of_cells(); }

// The embedding rows that the file holds of its tokens.
inline Result<codec::Embeddings> embeddings_in(const GoldenFile& file) {
  KVS_ASSIGN(const Matrix<int32_t> tokens, file.get<int32_t>("tokens"));
  KVS_ASSIGN(const Matrix<float> rows, file.get<float>("embeddings"));
  const auto lookup = [=](std::span<const int32_t> wanted, MatrixView<float> out) -> Result<> {
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto all = tokens.flat();
      const auto at = size_t(std::find(all.begin(), all.end(), wanted[i]) - all.begin());
      if (at == all.size()) return Error{ErrorKind::usage, "a token without an embedding"};
      std::copy_n(rows.row(at).begin(), rows.cols(), out.row(i).begin());
    }
    return {};
  };
  return codec::Embeddings{int(rows.cols()), lookup};
}

inline Result<Units<float>> decode_block(const Codec& codec, const GoldenFile& file) {
  KVS_ASSIGN(const Matrix<uint8_t> bytes, file.get<uint8_t>("block"));
  KVS_ASSIGN(const Matrix<int32_t> tokens, file.get<int32_t>("tokens"));
  KVS_ASSIGN(const Matrix<int32_t> positions, file.get<int32_t>("positions"));
  codec::Embeddings embeddings;
  if (codec.needs_embeddings()) {
    KVS_ASSIGN(embeddings, embeddings_in(file));
  }
  const Space space = keeps_cells(codec) ? Space::cached : Space::raw;
  KVS_ASSIGN(KvBlock<float> block,
             codec.decode(bytes.flat(), tokens.flat(), positions.flat(), &embeddings, space));
  Units<float> units;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < block.of(kind).size(); ++l) {
      units[unit_name(kind, int(l))] = std::move(block.of(kind)[l]);
    }
  }
  return units;
}

// The integers that the quantiser of a unit made of its n rows; none if it has no quantiser.
inline Result<Matrix<int32_t>> decode_codes(const codec::UnitCoder& unit, ByteSpan part, size_t n) {
  const codec::Pipeline& pipeline = unit.pipeline();
  ByteReader in(part);
  ByteSpan side;
  size_t width = unit.unit().width();
  for (const auto& stage : unit.stages()) {
    KVS_ASSIGN(const uint64_t size, in.get_varint());
    KVS_ASSIGN(side, in.take(size));
    width = stage->output_width(width);
  }
  const bool quantised = pipeline.quantises && !pipeline.entropy_coded;
  KVS_ASSIGN(codec::Rows rows, codec::unpack(in, n, width, quantised));
  if (pipeline.entropy_coded) {
    ByteReader last(side);
    KVS_TRY(unit.stages().back()->decode(rows, n, {unit.unit(), {}, {}}, last));
  }
  return std::move(rows.codes);
}

inline Result<Units<int32_t>> decode_codes(const Codec& codec, const GoldenFile& file) {
  KVS_ASSIGN(const Matrix<uint8_t> bytes, file.get<uint8_t>("block"));
  KVS_ASSIGN(const Matrix<int32_t> tokens, file.get<int32_t>("tokens"));
  KVS_ASSIGN(const std::vector<ByteSpan> parts, codec.payloads(bytes.flat()));
  Units<int32_t> units;
  for (size_t i = 0; i < parts.size(); ++i) {
    const codec::UnitCoder& unit = codec.units()[i];
    if (parts[i].empty()) continue;  // a layer with a window that is left out
    KVS_ASSIGN(Matrix<int32_t> codes, decode_codes(unit, parts[i], tokens.rows()));
    if (!codes.empty()) units[unit_name(unit.unit().kind, unit.unit().layer)] = std::move(codes);
  }
  return units;
}

// What a session gives back: cells are halves, keys after rotary embedding.
struct Restored {
  std::string codec;  // its fingerprint; empty: the session is lossless
  std::vector<int32_t> tokens, pending;
  std::vector<bool> exact;  // for each token, whether its cells were kept without loss
  size_t absent = 0;        // so many first tokens have no cells in layers with a window
  Units<uint16_t> cells;
  std::vector<session::RecurrentState> states;  // of hybrids, ascending
};

// A lossless session needs to know no more of its model than it says itself.
inline Result<ModelShape> shape_in(const std::string& path) {
  KVS_ASSIGN(const auto reader, session::SessionReader::open(path));
  return session::shape_of(reader.info());
}

// codec: null if the session is lossless.
inline Result<Restored> read_session(const std::string& path, const Codec* codec,
                                     const GoldenFile& file) {
  codec::Embeddings embeddings;
  if (codec != nullptr && codec->needs_embeddings()) {
    KVS_ASSIGN(embeddings, embeddings_in(file));
  }
  session::Coder coder{{}, codec, &embeddings};
  if (codec == nullptr) {
    KVS_ASSIGN(coder.shape, shape_in(path));
  } else {
    coder.shape = codec->shape();
  }
  KVS_ASSIGN(const auto opened, session::Session::open(path, coder));
  KVS_ASSIGN(KvBlock<uint16_t> cells, opened.read(0, opened.size(), {}));
  const session::Index& index = opened.file().index();
  Restored restored{
      opened.file().info().codec, cells.tokens, index.pending, {}, cells.absent, {}, {}};
  for (const session::Record& record : index.records) {
    const bool exact = record.kind == session::RecordKind::exact || keeps_cells(*codec);
    restored.exact.insert(restored.exact.end(), record.count, exact);
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < cells.of(kind).size(); ++l) {
      restored.cells[unit_name(kind, int(l))] = std::move(cells.of(kind)[l]);
    }
  }
  for (const size_t position : opened.file().state_positions()) {
    KVS_ASSIGN(auto state, opened.file().read_state(position));
    restored.states.push_back(std::move(state));
  }
  return restored;
}

inline std::string row_name(const session::RecurrentState& state, const session::StateRow& row) {
  return std::string(row.type == 0 ? "state." : "halves.") + std::to_string(state.position) + "." +
         std::to_string(row.layer) + (row.part == session::StatePart::r ? ".r" : ".s");
}

template <class T>
Matrix<T> numbers_of(const session::StateRow& row) {
  Matrix<T> numbers(row.data.size() / sizeof(T), 1);
  std::copy(row.data.begin(), row.data.end(), reinterpret_cast<uint8_t*>(numbers.data()));
  return numbers;
}

// The rest is the maker's alone.

// As a context would hold them: at positions 0, 1, ..., without what no window sees any more.
inline KvBlock<uint16_t> cells_of(KvBlock<float> block, const ModelShape& shape) {
  std::iota(block.positions.begin(), block.positions.end(), 0);
  KvBlock<uint16_t> cells = convert<uint16_t>(block, shape, Space::cached);
  cells.absent = shape.tokens_out_of_sight(cells.count());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      Matrix<uint16_t>& rows = cells.of(kind)[l];
      if (shape.layers[l].window > 0) std::fill_n(rows.data(), cells.absent * rows.cols(), 0);
    }
  }
  return cells;
}

// Layers with a window are left out, as they are of most blocks of such models; rows are cells
// where the codec keeps those.
inline Result<Bytes> encode_block(const Codec& codec, KvBlock<float> block,
                                  const codec::Embeddings& embeddings) {
  const ModelShape& shape = codec.shape();
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      if (shape.layers[l].window == 0) continue;
      block.of(kind)[l] = Matrix<float>(0, shape.layers[l].width(kind));
      block.absent = block.count();
    }
  }
  if (!keeps_cells(codec)) return codec.encode(block, &embeddings);
  return codec.encode(convert<uint16_t>(block, shape, Space::cached), &embeddings);
}

// Behind tokens 16, 24 and n. One layer's r is of halves.
inline std::vector<session::RecurrentState> states_of(const ModelShape& shape, size_t n) {
  std::vector<session::RecurrentState> states;
  if (!shape.hybrid()) return states;
  for (const size_t position : {size_t{16}, size_t{24}, n}) {
    session::RecurrentState state{position, 4, {}};
    Random random(position);
    for (const auto part : {session::StatePart::r, session::StatePart::s}) {
      for (const RecurrentLayer& layer : shape.recurrent) {
        const bool halves = part == session::StatePart::r && layer.s == 0;
        ByteWriter data;
        for (size_t i = 0; i < (part == session::StatePart::r ? layer.r : layer.s); ++i) {
          const auto value = static_cast<float>(random.normal());
          halves ? data.put(to_half(value)) : data.put(value);
        }
        state.rows.push_back({layer.layer, part, halves ? 1 : 0, data.take()});
      }
    }
    states.push_back(std::move(state));
  }
  return states;
}

inline void put_states(const std::vector<session::RecurrentState>& states, GoldenFile& file) {
  if (states.empty()) return;
  Matrix<int32_t> listed(states.size(), 2);
  for (size_t i = 0; i < states.size(); ++i) {
    listed(i, 0) = int32_t(states[i].position);
    listed(i, 1) = int32_t(states[i].model_layers);
    for (const session::StateRow& row : states[i].rows) {
      const std::string name = row_name(states[i], row);
      row.type == 0 ? file.put(name, numbers_of<float>(row))
                    : file.put(name, numbers_of<uint16_t>(row));
    }
  }
  file.put("states", listed);
}

// In small records; with `turns`, the second half of the cells is added to a session of the first.
inline Result<> pack_session(const std::string& path, const ModelShape& shape, const Codec* codec,
                             const KvView& cells, std::span<const int32_t> pending,
                             const codec::Embeddings& embeddings, bool turns,
                             session::StateEncoding encoding) {
  const session::Coder coder{shape, codec, &embeddings};
  const session::PackOptions options{16, 4, 8};
  const auto states = states_of(shape, cells.count());
  const auto stored = [&](size_t first, size_t n, size_t instead_of = 0) {
    if (states.empty()) return session::StatesToStore{};
    return session::StatesToStore{std::span(states).subspan(first, n), encoding, instead_of};
  };
  if (!turns) {
    return session::pack(path, cells, pending, coder, options, {}, stored(0, states.size()));
  }
  const size_t n = cells.count() / 2;
  KVS_TRY(session::pack(path, cells.slice(0, n), {}, coder, options, {}, stored(0, 1)));
  return session::extend(path, cells.slice(n, cells.count() - n), pending, coder, {},
                         stored(1, 2, n));
}

}  // namespace kvsplice::golden
