// What only llama.cpp decides of the states it saves: the numbers that mark its files, and how it
// turns heads before it quantises them. state_format.cc and its test compare this with the
// llama.cpp that is linked.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"

namespace kvsplice::host {

constexpr uint32_t kSessionMagic = 0x6767736e;   // of llama_state_save_file
constexpr uint32_t kSequenceMagic = 0x67677371;  // of llama_state_seq_save_file
constexpr uint32_t kDataMagic = 0xaf143cd8;      // of llama_state_seq_get_data
constexpr uint32_t kMostStreams = 256;           // LLAMA_MAX_SEQ

// Session files and sequence files have a number each; both change with what lies in them.
// Sequence data says none: it is of the version of the program that made it.
struct StateVersion {
  uint32_t session = 10, sequence = 3;

  // Behind the number of layers stand the sides of the two matrices that turn heads.
  bool says_turns() const { return sequence >= 4; }
  bool operator==(const StateVersion&) const = default;
};
inline constexpr StateVersion kStateVersions[] = {{10, 3}, {11, 4}};  // all that are handled
StateVersion linked_state_version();

// Sides of the Hadamard matrices by which the heads of a layer are turned in a cache; 0: not at
// all. llama.cpp turns what it quantises, unless LLAMA_ATTN_ROT_DISABLE is set.
struct Turns {
  uint32_t keys = 0, values = 0;

  uint32_t of(Kind kind) const { return kind == Kind::key ? keys : values; }
  bool operator==(const Turns&) const = default;
};

// What llama.cpp does to quantised caches if nothing is set; like shape.layers.
std::vector<Turns> usual_turns(const ModelShape& shape);

}  // namespace kvsplice::host
