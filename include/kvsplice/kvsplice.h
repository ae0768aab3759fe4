/* KVSplice for C: compressed key-value caches of language models.
 *
 * A codec turns the keys and values of consecutive tokens into a block of bytes and back. It is
 * fitted for one model by `kvsplice calibrate` and kept in a file, codec.gguf. A session is a file
 * of such blocks, session.kvz, which also says which tokens it holds.
 *
 * Shapes. A model has layers; layer l keeps kv_heads x key_dim numbers of a token as its key, and
 * kv_heads x value_dim as its value. The rows of n tokens are n x (kv_heads x dim) numbers. Keys
 * stand in one of two spaces: raw, before rotary embedding, or cached, turned by their positions as
 * an engine's cache holds them. Values are the same in both.
 *
 * Errors. Functions return a status. If `error` is not NULL, it is filled with one sentence: what
 * is wrong, which value was met, what would have been legal. Nothing is printed, and no function
 * ends the process. What a failed call would have returned is NULL, 0 or untouched.
 *
 * Threads. A codec may be used by several threads at once; so may a session that is read. A packing
 * of a session belongs to one thread. No global state of the process is touched.
 *
 * Files and bytes may be hostile: sizes are checked before memory is taken for them, and kvs_limits
 * says what a caller is ready to take.
 */
#ifndef KVSPLICE_KVSPLICE_H
#define KVSPLICE_KVSPLICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(KVSPLICE_SHARED)
#ifdef KVSPLICE_BUILDING
#define KVS_API __declspec(dllexport)
#else
#define KVS_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define KVS_API __attribute__((visibility("default")))
#else
#define KVS_API
#endif

/* ---- Status ---------------------------------------------------------------------------------- */

typedef enum kvs_status {
  KVS_OK = 0,
  KVS_ERROR_USAGE = 1,       /* an argument is not legal */
  KVS_ERROR_IO = 2,          /* the operating system, or a callback, refused */
  KVS_ERROR_FORMAT = 3,      /* bytes that are not what they claim to be */
  KVS_ERROR_MISMATCH = 4,    /* sound, but of another model or codec */
  KVS_ERROR_UNSUPPORTED = 5, /* sound, but outside what this version handles */
  KVS_ERROR_NUMERIC = 6,     /* not a number, or beyond what can be coded */
  KVS_ERROR_MEMORY = 7,      /* there is not enough, or kvs_limits says so */
  KVS_ERROR_INTERRUPTED = 8  /* a callback asked to stop */
} kvs_status;

typedef struct kvs_error {
  kvs_status status;
  char message[1024]; /* UTF-8, ends with 0; cut if it is longer */
} kvs_error;

/* "0.1.0". */
KVS_API const char* kvs_version(void);

/* The formats that this version reads, and the one it writes. */
typedef struct kvs_format_range {
  int oldest, newest;
} kvs_format_range;
KVS_API kvs_format_range kvs_codec_formats(void);
KVS_API kvs_format_range kvs_session_formats(void);

/* ---- What a caller lends ----------------------------------------------------------------------
 */

/* What a caller is ready to take of files. 0: the library's own limits. */
typedef struct kvs_limits {
  uint64_t tokens; /* of a session */
  uint64_t bytes;  /* of memory, for what is read */
} kvs_limits;

/* A caller's threads. */
typedef struct kvs_executor {
  void* user;
  int threads; /* how many bodies may run at once, at least 1 */
  /* Calls body(data, i) for every i in [0, n), in any order, and returns when all have returned. */
  void (*run)(void* user, size_t n, void (*body)(void* data, size_t i), void* data);
} kvs_executor;

/* Where buffers that are handed out come from. */
typedef struct kvs_allocator {
  void* user;
  void* (*allocate)(void* user, size_t bytes); /* NULL: there is no memory */
  void (*release)(void* user, void* bytes);
} kvs_allocator;

/* Told of what is odd and not an error, such as a session whose last append was interrupted. */
typedef struct kvs_log {
  void* user;
  void (*write)(void* user, const char* message);
} kvs_log;

/* The model's token embeddings, which some codecs read: rows of the embedding table, each divided
 * by its root mean square. */
typedef struct kvs_embeddings {
  void* user;
  int dim; /* numbers of a row */
  /* Row i of `rows` [n x dim] becomes that of tokens[i]. Returns 0, or any other number to fail. */
  int (*lookup)(void* user, const int32_t* tokens, size_t n, float* rows);
} kvs_embeddings;

/* All of them optional. They must stay where they are for as long as
 * the object they are given to; embeddings are given with each call that may need them. */
typedef struct kvs_options {
  const kvs_limits* limits;
  const kvs_executor* executor;
  const kvs_allocator* allocator;
  const kvs_log* log;
} kvs_options;

/* A buffer handed out. */
typedef struct kvs_buffer {
  uint8_t* data;
  size_t size;
  kvs_allocator allocator; /* that it came from */
} kvs_buffer;
/* The buffer is empty afterwards. NULL and empty buffers are fine. */
KVS_API void kvs_buffer_free(kvs_buffer* buffer);

/* ---- Rows -------------------------------------------------------------------------------------
 */

typedef enum kvs_kind { KVS_KEY = 0, KVS_VALUE = 1 } kvs_kind;
typedef enum kvs_space { KVS_RAW = 0, KVS_CACHED = 1 } kvs_space;
typedef enum kvs_element { KVS_F32 = 0, KVS_F16 = 1, KVS_BF16 = 2 } kvs_element;

typedef struct kvs_layer {
  int kv_heads, key_dim, value_dim; /* dims: of a head */
  int window;                       /* tokens that attention sees; 0: all */
} kvs_layer;

/* Rows of one layer's keys or values, in place: number (r, c) is element
 * r * row_stride + c * col_stride behind data. */
typedef struct kvs_rows {
  void* data; /* read only where a function says so */
  ptrdiff_t row_stride, col_stride;
  kvs_element element;
} kvs_rows;

/* The cache of `count` tokens. */
typedef struct kvs_block {
  size_t count;
  const int32_t* tokens;    /* count numbers in the model's vocabulary */
  const int32_t* positions; /* count numbers */
  kvs_space space;          /* of keys */
  const kvs_rows* keys; /* one for each layer of the codec or model; [count x kv_heads * key_dim] */
  const kvs_rows* values;
  size_t absent; /* so many first tokens have no rows in layers with a window; 0, or for a codec's
                    block all or none */
} kvs_block;

/* Takes decoded rows [count x width] of one layer, row r at rows + r * stride. Called once for each
 * layer and kind that a block has, from several threads at once where an executor has several.
 * Returns 0, or any other number to stop with KVS_ERROR_INTERRUPTED. */
typedef int (*kvs_sink)(void* user, kvs_kind kind, int layer, const float* rows, size_t count,
                        size_t width, size_t stride);

/* ---- Codecs -----------------------------------------------------------------------------------
 */

typedef struct kvs_codec kvs_codec;

KVS_API kvs_status kvs_codec_open(const char* path, const kvs_options* options, kvs_codec** codec,
                                  kvs_error* error);
/* The bytes of a codec file; they are copied. */
KVS_API kvs_status kvs_codec_open_bytes(const void* bytes, size_t size, const kvs_options* options,
                                        kvs_codec** codec, kvs_error* error);
/* A codec file wherever it is. read: bytes [offset, offset + n), all of them; returns 0, or any
 * other number to fail. It is not called any more when this function has returned. */
typedef struct kvs_source {
  void* user;
  uint64_t size;
  int (*read)(void* user, uint64_t offset, void* out, size_t n);
} kvs_source;
KVS_API kvs_status kvs_codec_open_source(const kvs_source* source, const kvs_options* options,
                                         kvs_codec** codec, kvs_error* error);
KVS_API void kvs_codec_free(kvs_codec* codec);

KVS_API int kvs_codec_layers(const kvs_codec* codec);
KVS_API kvs_layer kvs_codec_layer(const kvs_codec* codec, int layer);
/* These strings live as long as the codec. */
KVS_API const char* kvs_codec_pipeline(const kvs_codec* codec);
KVS_API const char* kvs_codec_fingerprint(const kvs_codec* codec); /* 32 hex digits */
KVS_API const char* kvs_codec_model(const kvs_codec* codec);       /* fingerprint of the model */
KVS_API int kvs_codec_embedding_dim(const kvs_codec* codec);       /* 0: reads no embeddings */
KVS_API int kvs_codec_is_lossless(const kvs_codec* codec);         /* of f16 rows in cached space */
/* Rows of a block depend on rows before them, in runs of so many tokens: the best size of a block.
 */
KVS_API size_t kvs_codec_block_tokens(const kvs_codec* codec);

/* A block's bytes do not hold its tokens and positions: keep them beside. */
KVS_API kvs_status kvs_encode(const kvs_codec* codec, const kvs_block* block,
                              const kvs_embeddings* embeddings, kvs_buffer* bytes,
                              kvs_error* error);
KVS_API kvs_status kvs_decode(const kvs_codec* codec, const void* bytes, size_t size,
                              const int32_t* tokens, const int32_t* positions, size_t count,
                              kvs_space space, const kvs_embeddings* embeddings, kvs_sink sink,
                              void* user, kvs_error* error);
/* The same, to where `block`'s rows are: of any element type but bf16, in its space. Of layers that
 * the bytes lack, rows stay as they are, and block->absent becomes the count. */
KVS_API kvs_status kvs_decode_into(const kvs_codec* codec, const void* bytes, size_t size,
                                   kvs_block* block, const kvs_embeddings* embeddings,
                                   kvs_error* error);

/* ---- Sessions ---------------------------------------------------------------------------------
 */

/* What a lossless session must know of a model without a codec. */
typedef struct kvs_model {
  const char* fingerprint;  /* what tells the model from others; at most 64 characters */
  const char* name;         /* for people; may be NULL */
  const char* architecture; /* the same */
  int layer_count;
  const kvs_layer* layers;
} kvs_model;

typedef struct kvs_pack_options {
  size_t block_tokens; /* coded together; 0: what suits the codec */
  size_t sinks;        /* first tokens that are kept exactly */
  size_t window;       /* newest tokens that are kept exactly */
} kvs_pack_options;
#define KVS_PACK_DEFAULTS \
  { 0, 4, 32 }

/* Writes a new session of a block that begins at position 0, in cached space. `pending`: tokens
 * behind the block that have no rows yet. codec NULL: without loss, of `model`; else `model` may be
 * NULL. A file that is there is replaced when the new one is whole. */
KVS_API kvs_status kvs_session_pack(const char* path, const kvs_block* block,
                                    const int32_t* pending, size_t pending_count,
                                    const kvs_codec* codec, const kvs_model* model,
                                    const kvs_embeddings* embeddings, const kvs_pack_options* pack,
                                    const kvs_options* options, kvs_error* error);
/* Adds a block that follows at once. What is there stays readable whatever happens. */
KVS_API kvs_status kvs_session_extend(const char* path, const kvs_block* block,
                                      const int32_t* pending, size_t pending_count,
                                      const kvs_codec* codec, const kvs_embeddings* embeddings,
                                      const kvs_options* options, kvs_error* error);

typedef struct kvs_session kvs_session;

/* codec: the one it was packed by, NULL for lossless ones. It and the embeddings must live as long
 * as the session. */
KVS_API kvs_status kvs_session_open(const char* path, const kvs_codec* codec,
                                    const kvs_embeddings* embeddings, const kvs_options* options,
                                    kvs_session** session, kvs_error* error);
KVS_API void kvs_session_free(kvs_session* session);

KVS_API size_t kvs_session_size(const kvs_session* session);    /* tokens that have rows */
KVS_API size_t kvs_session_pending(const kvs_session* session); /* tokens behind them */
KVS_API int kvs_session_layers(const kvs_session* session);
KVS_API kvs_layer kvs_session_layer(const kvs_session* session, int layer);
KVS_API const char* kvs_session_model(const kvs_session* session); /* fingerprint */
/* All tokens, those with rows and then the pending ones: `tokens` has room for both. */
KVS_API kvs_status kvs_session_tokens(const kvs_session* session, int32_t* tokens,
                                      kvs_error* error);
/* The rows of tokens [first, first + block->count), to where block's rows are: f16 or f32, in
 * cached space. block->tokens and positions are not read. Only what they lie in is read of the
 * file. Rows that a window has passed stay as they are, and block->absent says how many. */
KVS_API kvs_status kvs_session_read(const kvs_session* session, size_t first, kvs_block* block,
                                    kvs_error* error);

#ifdef __cplusplus
}
#endif

#endif /* KVSPLICE_KVSPLICE_H */
