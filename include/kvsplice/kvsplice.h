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
 * Threads. A codec may be used by several threads at once; so may a session that is read. A file is
 * packed or extended by one call at a time. No global state of the process is touched. Functions of
 * the caller's must not throw.
 *
 * Files and bytes may be hostile: sizes are checked before memory is taken for them, and kvs_limits
 * says what a caller is ready to take.
 *
 * Compatibility. Structs are filled with zeros before their fields are set (`kvs_block b = {0}`):
 * zero always means what was there before a field was. They carry no sizes and no reserved fields.
 * Until 1.0 a new minor version may lengthen them, and the library's soname names the minor
 * version, so that a program never meets a library with other structs. From 1.0 on structs stay as
 * they are.
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

/* Such types are 32 bits wide for every compiler; other values than those named are refused. */
typedef int32_t kvs_status;
enum {
  KVS_OK = 0,
  KVS_ERROR_USAGE = 1,       /* an argument is not legal */
  KVS_ERROR_IO = 2,          /* the operating system, or a callback, refused */
  KVS_ERROR_FORMAT = 3,      /* bytes that are not what they claim to be */
  KVS_ERROR_MISMATCH = 4,    /* sound, but of another model or codec */
  KVS_ERROR_UNSUPPORTED = 5, /* sound, but outside what this version handles */
  KVS_ERROR_NUMERIC = 6,     /* not a number, or beyond what can be coded */
  KVS_ERROR_MEMORY = 7,      /* there is not enough, or kvs_limits says so */
  KVS_ERROR_INTERRUPTED = 8  /* a callback asked to stop */
};

typedef struct kvs_error {
  kvs_status status;
  char message[1024]; /* UTF-8, ends with 0; cut if it is longer */
} kvs_error;

/* "0.1.0". */
KVS_API const char* kvs_version(void);

/* The oldest and the newest format that this version reads. */
typedef struct kvs_format_range {
  int oldest, newest;
} kvs_format_range;
KVS_API kvs_format_range kvs_codec_formats(void);
KVS_API kvs_format_range kvs_session_formats(void);

/* ---- What a caller lends --------------------------------------------------------------------- */

/* What a caller is ready to take of files; more is KVS_ERROR_MEMORY. 0: the library's own limits.
 */
typedef struct kvs_limits {
  uint64_t tokens; /* of a session */
  uint64_t bytes;  /* of memory: of a codec, or of the rows that one call reads, as f16 */
} kvs_limits;

/* A caller's threads. */
typedef struct kvs_executor {
  void* user;
  int threads; /* how many bodies may run at once, at least 1 */
  /* Calls body(data, i) for every i in [0, n), in any order, and returns when all have returned. */
  void (*run)(void* user, size_t n, void (*body)(void* data, size_t i), void* data);
} kvs_executor;

/* Where buffers that are handed out come from: both functions, or neither for malloc and free. */
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

/* Told how far packing, extending or reading a session is, between its blocks and on the thread
 * that called. Returns 0, or any other number to stop with KVS_ERROR_INTERRUPTED. */
typedef struct kvs_progress {
  void* user;
  int (*step)(void* user, size_t done, size_t total);
} kvs_progress;

/* The model's token embeddings, which some codecs read: rows of the embedding table, each divided
 * by its root mean square. */
typedef struct kvs_embeddings {
  void* user;
  int dim; /* numbers of a row, as kvs_codec_embedding_dim says */
  /* Row i of `rows` [n x dim] becomes that of tokens[i]. Returns 0, or any other number to fail
   * with KVS_ERROR_IO. Sessions call it from several threads at once. */
  int (*lookup)(void* user, const int32_t* tokens, size_t n, float* rows);
} kvs_embeddings;

/* A file wherever it is. */
typedef struct kvs_source {
  void* user;
  uint64_t size;
  /* Reads bytes [offset, offset + n), all of them; returns 0, or any other number to fail with
   * KVS_ERROR_IO. Several threads call at once. */
  int (*read)(void* user, uint64_t offset, void* out, size_t n);
} kvs_source;

/* Where a new file goes. */
typedef struct kvs_output {
  void* user;
  /* Takes n bytes that follow those before; returns 0, or any other number to fail with
   * KVS_ERROR_IO. One thread calls, the one that packs. */
  int (*write)(void* user, const void* bytes, size_t n);
} kvs_output;

/* All of them optional. The structs are copied; what their functions and `user` need must last as
 * long as the object they are given to. */
typedef struct kvs_options {
  const kvs_limits* limits;
  const kvs_executor* executor;
  const kvs_allocator* allocator;
  const kvs_log* log;
  const kvs_progress* progress;
} kvs_options;

/* A buffer handed out. */
typedef struct kvs_buffer {
  uint8_t* data;
  size_t size;
  kvs_allocator allocator; /* that it came from */
} kvs_buffer;
/* The buffer is empty afterwards. NULL and empty buffers are fine. */
KVS_API void kvs_buffer_free(kvs_buffer* buffer);

/* ---- Rows ------------------------------------------------------------------------------------ */

typedef int32_t kvs_kind;
enum { KVS_KEY = 0, KVS_VALUE = 1 };
typedef int32_t kvs_space;
enum { KVS_RAW = 0, KVS_CACHED = 1 };
typedef int32_t kvs_element;
enum { KVS_F32 = 0, KVS_F16 = 1, KVS_BF16 = 2 };

typedef struct kvs_layer {
  int kv_heads, key_dim, value_dim; /* dims: of a head; value_dim 0: values are in the keys */
  int window;                       /* tokens that attention sees; 0: all */
} kvs_layer;

/* Rows of one layer's keys or values, in place: number (r, c) is element
 * r * row_stride + c * col_stride behind data, which need not be aligned. Strides may be negative,
 * and are 0 only where there is one row or column. */
typedef struct kvs_rows {
  void* data; /* only read where a block is const */
  ptrdiff_t row_stride, col_stride;
  kvs_element element;
} kvs_rows;

/* One of two rows that each recurrent layer of a hybrid model has in place of cells, as llama.cpp
 * holds them: what a convolution has seen, and the recurrence itself. */
typedef int32_t kvs_state_part;
enum { KVS_STATE_R = 0, KVS_STATE_S = 1 };
typedef struct kvs_state_row {
  int layer; /* of the model, where layers of all kinds count */
  kvs_state_part part;
  kvs_element element; /* KVS_F32 or KVS_F16 */
  const void* data;    /* `count` numbers, which need not be aligned */
  size_t count;
} kvs_state_row;

/* What all recurrent layers hold behind the first `position` tokens. It cannot be cut: text goes on
 * only where there is one. */
typedef struct kvs_state {
  size_t position;           /* at least 1 */
  int model_layers;          /* of all kinds */
  const kvs_state_row* rows; /* r of all recurrent layers in their order, then s of all */
  size_t row_count;
} kvs_state;

/* How sessions keep states: to the bit, or f32 numbers rounded to half precision, or to 8 bits
 * each, with a scale for 32 of them. */
typedef int32_t kvs_state_encoding;
enum { KVS_STATES_EXACT = 0, KVS_STATES_F16 = 1, KVS_STATES_Q8 = 2 };
typedef struct kvs_states {
  const kvs_state* states; /* ascending positions */
  size_t count;
  kvs_state_encoding encoding;
  size_t instead_of; /* of a session that is extended: its state behind so many tokens goes */
} kvs_states;

/* The cache of `count` tokens. A codec's block has rows of all tokens in layers with a window, or
 * of none; in a session's the first may lack. What stands in the place of absent rows is neither
 * read nor written, and where all are absent, data may be NULL. */
typedef struct kvs_block {
  size_t count;
  const int32_t* tokens;    /* count numbers in the model's vocabulary */
  const int32_t* positions; /* count numbers */
  kvs_space space;          /* of keys */
  const kvs_rows* keys;     /* of each layer of the codec or model, [count x kv_heads * key_dim] */
  const kvs_rows* values;   /* the same, [count x kv_heads * value_dim] */
  size_t absent;            /* so many first tokens have no rows in layers with a window */
  const kvs_states* states; /* packing sessions of hybrids: theirs, none of them if count is 0 */
} kvs_block;

/* Takes decoded rows [count x width] of one layer, row r at rows + r * stride. Called once for each
 * layer and kind that a block has, from several threads at once where an executor has several.
 * Returns 0, or any other number to stop with KVS_ERROR_INTERRUPTED. */
typedef int (*kvs_sink)(void* user, kvs_kind kind, int layer, const float* rows, size_t count,
                        size_t width, size_t stride);

/* ---- Codecs ---------------------------------------------------------------------------------- */

typedef struct kvs_codec kvs_codec;

KVS_API kvs_status kvs_codec_open(const char* path, const kvs_options* options, kvs_codec** codec,
                                  kvs_error* error);
/* The bytes of a codec file; they are copied. */
KVS_API kvs_status kvs_codec_open_bytes(const void* bytes, size_t size, const kvs_options* options,
                                        kvs_codec** codec, kvs_error* error);
/* Wherever the file is: the source is not called any more when the codec is open. */
KVS_API kvs_status kvs_codec_open_source(const kvs_source* source, const kvs_options* options,
                                         kvs_codec** codec, kvs_error* error);
/* Sessions that were opened with the codec may be used on. */
KVS_API void kvs_codec_free(kvs_codec* codec);

KVS_API int kvs_codec_layers(const kvs_codec* codec);
KVS_API kvs_layer kvs_codec_layer(const kvs_codec* codec, int layer);
/* In the model, where layers without rows count. -1: there is no such layer. */
KVS_API int kvs_codec_layer_number(const kvs_codec* codec, int layer);
/* Of a hybrid: how many layers are recurrent, and the number of the i-th in the model. */
KVS_API int kvs_codec_recurrent_layers(const kvs_codec* codec);
KVS_API int kvs_codec_recurrent_layer(const kvs_codec* codec, int i);
/* These strings live as long as the codec. */
KVS_API const char* kvs_codec_pipeline(const kvs_codec* codec);
KVS_API const char* kvs_codec_fingerprint(const kvs_codec* codec); /* 32 hex digits */
KVS_API const char* kvs_codec_model(const kvs_codec* codec);       /* fingerprint of the model */
KVS_API int kvs_codec_embedding_dim(const kvs_codec* codec);       /* 0: reads no embeddings */
KVS_API int kvs_codec_is_lossless(const kvs_codec* codec);         /* of f16 rows in cached space */
/* Rows of a block depend on rows before them, in runs of so many tokens: the best size of a block.
 */
KVS_API size_t kvs_codec_block_tokens(const kvs_codec* codec);

/* The bytes do not hold the block's tokens and positions: keep them beside. embeddings may be NULL
 * for codecs that read none. */
KVS_API kvs_status kvs_encode(const kvs_codec* codec, const kvs_block* block,
                              const kvs_embeddings* embeddings, kvs_buffer* bytes,
                              kvs_error* error);
KVS_API kvs_status kvs_decode(const kvs_codec* codec, const void* bytes, size_t size,
                              const int32_t* tokens, const int32_t* positions, size_t count,
                              kvs_space space, const kvs_embeddings* embeddings, kvs_sink sink,
                              void* user, kvs_error* error);
/* The same, to where `block`'s rows are: in its space, rounded to its elements. block->absent says
 * afterwards whether the bytes have rows in layers with a window: 0, or the count. */
KVS_API kvs_status kvs_decode_into(const kvs_codec* codec, const void* bytes, size_t size,
                                   kvs_block* block, const kvs_embeddings* embeddings,
                                   kvs_error* error);

/* ---- Sessions -------------------------------------------------------------------------------- */

/* What a lossless session must know of a model without a codec. */
typedef struct kvs_model {
  const char* fingerprint;  /* what tells the model from others; at most 64 characters */
  const char* name;         /* for people; may be NULL */
  const char* architecture; /* the same */
  int layer_count;
  const kvs_layer* layers;
  const int* layer_numbers; /* in the model, where layers without rows count; NULL: 0, 1, ... */
} kvs_model;

/* What tells a GGUF model from others, as the program has it in codecs, sessions and stores: 32 hex
 * digits and a 0 in `fingerprint`. Names of the file and the model, tokenizer and chat template do
 * not count. Of a split model, name the first part. The model is not loaded. KVS_ERROR_FORMAT: no
 * GGUF file; KVS_ERROR_UNSUPPORTED: it has tensors of a type that is not known. */
KVS_API kvs_status kvs_model_fingerprint(const char* path, char fingerprint[33], kvs_error* error);

/* NULL where they are wanted: KVS_PACK_DEFAULTS. */
typedef struct kvs_pack_options {
  size_t block_tokens; /* coded together, at most 4096; 0: what suits the codec */
  size_t sinks;        /* first tokens that are kept exactly */
  size_t window;       /* newest tokens that are kept exactly */
} kvs_pack_options;
#define KVS_PACK_DEFAULTS \
  { 0, 4, 32 }

/* Writes a new session of a block in cached space, at positions 0, 1, ... Sessions hold f16: other
 * elements are rounded to it, or refused with KVS_ERROR_NUMERIC if they are not finite, or if
 * nothing may be lost and rounding would change one. `pending`: tokens behind the block that have
 * no rows yet. codec NULL: without loss, of `model`; else `model` is not read. A file that is there
 * is replaced when the new one is whole. Of a hybrid, block->states must not be NULL, so that none
 * is lost unawares; without a codec, one that is to have states later begins with one. */
KVS_API kvs_status kvs_session_pack(const char* path, const kvs_block* block,
                                    const int32_t* pending, size_t pending_count,
                                    const kvs_codec* codec, const kvs_model* model,
                                    const kvs_embeddings* embeddings, const kvs_pack_options* pack,
                                    const kvs_options* options, kvs_error* error);
/* The same, to memory. */
KVS_API kvs_status kvs_session_pack_bytes(const kvs_block* block, const int32_t* pending,
                                          size_t pending_count, const kvs_codec* codec,
                                          const kvs_model* model, const kvs_embeddings* embeddings,
                                          const kvs_pack_options* pack, const kvs_options* options,
                                          kvs_buffer* bytes, kvs_error* error);
/* The same, piece by piece to wherever it should go. What was written is no session if the call
 * fails. */
KVS_API kvs_status kvs_session_pack_output(const kvs_output* output, const kvs_block* block,
                                           const int32_t* pending, size_t pending_count,
                                           const kvs_codec* codec, const kvs_model* model,
                                           const kvs_embeddings* embeddings,
                                           const kvs_pack_options* pack, const kvs_options* options,
                                           kvs_error* error);
/* Adds a block that follows at once to a file. What is there stays readable whatever happens.
 * States stand behind those that are there. */
KVS_API kvs_status kvs_session_extend(const char* path, const kvs_block* block,
                                      const int32_t* pending, size_t pending_count,
                                      const kvs_codec* codec, const kvs_embeddings* embeddings,
                                      const kvs_options* options, kvs_error* error);

typedef struct kvs_session kvs_session;

/* codec: the one it was packed by, NULL for lossless ones. What the embeddings need must last as
 * long as the session. */
KVS_API kvs_status kvs_session_open(const char* path, const kvs_codec* codec,
                                    const kvs_embeddings* embeddings, const kvs_options* options,
                                    kvs_session** session, kvs_error* error);
/* The bytes of a session file. They are not copied, and must stay as they are until the session is
 * freed. */
KVS_API kvs_status kvs_session_open_bytes(const void* bytes, size_t size, const kvs_codec* codec,
                                          const kvs_embeddings* embeddings,
                                          const kvs_options* options, kvs_session** session,
                                          kvs_error* error);
/* Wherever the file is: the source is called until the session is freed, by every thread that reads
 * it. The struct is copied. */
KVS_API kvs_status kvs_session_open_source(const kvs_source* source, const kvs_codec* codec,
                                           const kvs_embeddings* embeddings,
                                           const kvs_options* options, kvs_session** session,
                                           kvs_error* error);
KVS_API void kvs_session_free(kvs_session* session);

KVS_API size_t kvs_session_size(const kvs_session* session);    /* tokens that have rows */
KVS_API size_t kvs_session_pending(const kvs_session* session); /* tokens behind them */
KVS_API int kvs_session_layers(const kvs_session* session);
KVS_API kvs_layer kvs_session_layer(const kvs_session* session, int layer);
KVS_API int kvs_session_layer_number(const kvs_session* session, int layer); /* as a codec's */
/* Fingerprints, which live as long as the session. */
KVS_API const char* kvs_session_model(const kvs_session* session);
KVS_API const char* kvs_session_codec(const kvs_session* session); /* "" if it is lossless */
/* Tokens [first, first + count) of those that have rows and, behind them, the pending ones. */
KVS_API kvs_status kvs_session_tokens(const kvs_session* session, size_t first, size_t count,
                                      int32_t* tokens, kvs_error* error);
/* The rows of tokens [first, first + block->count), to where block's rows are, in cached space; to
 * f16 elements without a copy between. block->tokens and positions are not read, and of the file
 * only the blocks that the tokens lie in. block->absent says afterwards how many first tokens have
 * no rows in layers with a window: windows have passed them. */
KVS_API kvs_status kvs_session_read(const kvs_session* session, size_t first, kvs_block* block,
                                    kvs_error* error);

/* Of a hybrid: how many states are stored, and how many tokens each has seen, ascending. */
KVS_API size_t kvs_session_states(const kvs_session* session);
KVS_API size_t kvs_session_state_position(const kvs_session* session, size_t i);
/* The state behind the first `position` tokens; KVS_ERROR_MISMATCH, which says where there are
 * some, if there is none. `memory` holds what state->rows points to; kvs_buffer_free frees it. */
KVS_API kvs_status kvs_session_state(const kvs_session* session, size_t position, kvs_state* state,
                                     kvs_buffer* memory, kvs_error* error);

#ifdef __cplusplus
}
#endif

#endif /* KVSPLICE_KVSPLICE_H */
