/* Encodes rows and decodes them:  cc block.c $(pkg-config --cflags --libs kvsplice) -lm */
#include <kvsplice/kvsplice.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 64, MOST_LAYERS = 256 };

static int fail(const kvs_error* e) { return fprintf(stderr, "block: %s\n", e->message), 1; }

/* The embeddings of a model would stand here; codecs that need none do not ask. */
static int lookup(void* dim, const int32_t* t, size_t n, float* rows) {
  for (size_t i = 0; i < n * *(size_t*)dim; ++i) rows[i] = sinf((float)(i + (size_t)t[0]));
  return 0;
}

int main(int argc, char** argv) {
  kvs_error e;
  kvs_codec* codec = NULL;
  if (kvs_codec_open(argc > 1 ? argv[1] : NULL, NULL, &codec, &e) != KVS_OK) return fail(&e);
  int32_t tokens[TOKENS], positions[TOKENS];
  for (int t = 0; t < TOKENS; ++t) tokens[t] = 1 + t % 7, positions[t] = t;
  kvs_rows keys[MOST_LAYERS], values[MOST_LAYERS];
  const int layers = kvs_codec_layers(codec);
  for (int l = 0; l < layers && l < MOST_LAYERS; ++l) {
    const kvs_layer s = kvs_codec_layer(codec, l);
    const ptrdiff_t k = s.kv_heads * s.key_dim, v = s.kv_heads * s.value_dim;
    keys[l] = (kvs_rows){calloc(TOKENS * k, sizeof(float)), k, 1, KVS_F32};
    values[l] = (kvs_rows){calloc(TOKENS * v, sizeof(float)), v, 1, KVS_F32};
    for (ptrdiff_t i = 0; i < TOKENS * k; ++i) ((float*)keys[l].data)[i] = sinf((float)(i % 97));
  }
  kvs_block block = {TOKENS, tokens, positions, KVS_RAW, keys, values, 0};
  size_t dim = (size_t)kvs_codec_embedding_dim(codec);
  const kvs_embeddings embeddings = {&dim, (int)dim, lookup};
  kvs_buffer bytes;
  if (kvs_encode(codec, &block, &embeddings, &bytes, &e) != KVS_OK) return fail(&e);
  if (kvs_decode_into(codec, bytes.data, bytes.size, &block, &embeddings, &e) != KVS_OK) return fail(&e);
  printf("%d tokens in %zu bytes; first key: %.3f ...\n", TOKENS, bytes.size, *(float*)keys[0].data);
  kvs_buffer_free(&bytes);
  kvs_codec_free(codec);
}
