/* Encodes rows and decodes them:  cc block.c -o block $(pkg-config --cflags --libs kvsplice) */
#include <kvsplice/kvsplice.h>
#include <stdio.h>
#include <stdlib.h>
enum { TOKENS = 64, MOST_LAYERS = 256 };

static kvs_rows make_rows(int width) { /* of a layer, with something to code in them */
  float* data = malloc(sizeof(float) * TOKENS * (size_t)width);
  for (int i = 0; data && i < TOKENS * width; ++i) data[i] = (float)(i % 97) / 97;
  return (kvs_rows){data, width, 1, KVS_F32};
}

/* An engine copies rows of its embedding table here. Codecs that read none do not call it. */
static int look_up(void* codec, const int32_t* tokens, size_t n, float* rows) {
  const size_t dim = (size_t)kvs_codec_embedding_dim(codec);
  for (size_t i = 0; i < n * dim; ++i) rows[i] = (float)(tokens[i / dim] % 5);
  return 0;
}

int main(int argc, char** argv) {
  kvs_codec* codec;
  kvs_error e;
  kvs_buffer bytes;
  kvs_rows keys[MOST_LAYERS], values[MOST_LAYERS];
  int32_t tokens[TOKENS], positions[TOKENS];
  kvs_block block = {TOKENS, tokens, positions, KVS_RAW, keys, values, 0, NULL};
  int ok = kvs_codec_open(argc > 1 ? argv[1] : NULL, NULL, &codec, &e) == KVS_OK;
  for (int t = 0; t < TOKENS; ++t) tokens[t] = 1 + t % 7, positions[t] = t;
  for (int l = 0; l < kvs_codec_layers(codec) && l < MOST_LAYERS; ++l) {
    const kvs_layer layer = kvs_codec_layer(codec, l);
    keys[l] = make_rows(layer.kv_heads * layer.key_dim);
    values[l] = make_rows(layer.kv_heads * layer.value_dim);
  }
  const kvs_embeddings embeddings = {codec, kvs_codec_embedding_dim(codec), look_up};
  ok = ok && kvs_encode(codec, &block, &embeddings, &bytes, &e) == KVS_OK;
  ok = ok && kvs_decode_into(codec, bytes.data, bytes.size, &block, &embeddings, &e) == KVS_OK;
  if (!ok) return fprintf(stderr, "block: %s\n", e.message), 1;
  printf("%d tokens in %zu bytes, key 0: %.3f\n", TOKENS, bytes.size, *(float*)keys[0].data);
  kvs_buffer_free(&bytes), kvs_codec_free(codec);
}
