// What stands behind the opaque types of the C interface.
#pragma once

#include "codec/codec.h"
#include "kvsplice/kvsplice.h"
#include "session/session.h"

// Strings are made once, so that pointers to them stay.
struct kvs_codec {
  kvsplice::codec::Codec codec;
  kvs_options options;
  std::string pipeline, fingerprint;
};

struct kvs_session {
  std::optional<kvsplice::codec::Embeddings> embeddings;
  std::optional<kvsplice::session::Session> session;
  kvsplice::ModelShape shape;
  kvs_options options;
  kvsplice::ReadLimits limits;
};
