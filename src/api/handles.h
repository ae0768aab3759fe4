// What stands behind the opaque types of the C interface.
#pragma once

#include "api/lent.h"
#include "kvsplice/kvsplice.h"
#include "session/session.h"

// Strings are made once, so that pointers to them stay.
struct kvs_codec {
  std::shared_ptr<const kvsplice::codec::Codec> codec;
  kvsplice::api::Options options;
  std::string pipeline, fingerprint;
};

struct kvs_session {
  std::shared_ptr<const kvsplice::codec::Codec> codec;  // null if the session is lossless
  std::optional<kvsplice::codec::Embeddings> embeddings;
  std::optional<kvsplice::session::Session> session;
  kvsplice::ModelShape shape;
  kvsplice::api::Options options;
};
