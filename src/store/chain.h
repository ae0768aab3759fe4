// Which cells a prefix of tokens names. A chain of hashes runs over blocks of tokens; it begins at
// a root that stands for all that cells must have in common to be of use to one another.
// docs/store.md has the bytes that are hashed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "store/key.h"

namespace kvsplice::store {

// What cells are of, besides their tokens.
struct CellsOf {
  std::string model;  // fingerprint, see core/shape.h
  std::string codec;  // fingerprint; empty: lossless
  size_t block_tokens = 256;
  std::string settings;  // of the program that computed them: cache types, adapters, RoPE overrides
};

// Settings of a cache of these types ("f16", "q8_0") and of a model as its file has it: what cells
// can have lost. How the cache is laid out changes none.
std::string settings_of(std::string_view key_type, std::string_view value_type);

// The root of a tenant's chains.
Hash root_of(const CellsOf& cells, const Key& key, std::string_view tenant);
// The name of a block, or with `tail` of the tokens behind the last block.
Hash child_of(const Hash& parent, std::span<const int32_t> tokens, bool tail);
// The names of the whole blocks of a prefix, in order.
std::vector<Hash> chain_of(const Hash& root, std::span<const int32_t> tokens, size_t block_tokens);

// How many first tokens of two texts are the same.
size_t shared_length(std::span<const int32_t> a, std::span<const int32_t> b);

}  // namespace kvsplice::store
