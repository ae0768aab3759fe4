// What callers lend: threads, memory, ears, limits, embeddings. And what several of them share.
#include <atomic>
#include <fstream>
#include <numeric>
#include <set>
#include <thread>

#include "golden_case.h"

namespace kvsplice::api {
namespace {

// Options of one thing.
template <class T>
kvs_options lend(const T* kvs_options::*field, const T& lent) {
  kvs_options options{};
  options.*field = &lent;
  return options;
}

// The default codec with its block and session.
class Lent : public InFolder {
 protected:
  Result<Bytes> encode(const Codec& codec) const {
    BlockInMemory from(codec, positions_.size(), KVS_F32);
    for (size_t l = 0; l < from.layers(); ++l) {
      for (Kind kind : {Kind::key, Kind::value}) from.rows(kind, l).set(golden_.rows(kind, l));
    }
    KVS_ASSIGN(const Buffer bytes,
               codec.encode(from.of(golden_.tokens(), positions_, KVS_RAW), &embeddings_));
    return Bytes(bytes.bytes().begin(), bytes.bytes().end());
  }

  Result<Matrix<float>> read(const Session& session, kvs_element element = KVS_F32) const {
    BlockInMemory place(session, session.size(), element);
    place.block().space = KVS_CACHED;
    KVS_TRY(session.read(0, place.block()));
    return place.rows(Kind::key, 1).get();
  }

  Result<Session> open(const Codec& codec, const kvs_options* options) const {
    return Session::open(golden_.session_path(), &codec, &embeddings_, options);
  }

  const GoldenCase golden_{"default"};
  const std::vector<int32_t> positions_ = golden_.column("positions");
  const kvs_embeddings embeddings_ = golden_.embeddings();
};

TEST_F(Lent, LimitsAreKept) {
  const kvs_limits little{0, 10000}, few{31, 0}, enough{32, 1000000};
  const kvs_options little_memory = lend(&kvs_options::limits, little);
  const kvs_options few_tokens = lend(&kvs_options::limits, few);
  const kvs_options sufficient = lend(&kvs_options::limits, enough);
  expect_error(Codec::open(golden_.codec_path(), &little_memory), ErrorKind::memory,
               "the caller's limit is 10000");
  const Codec codec = golden_.codec(&sufficient);
  expect_error(open(codec, &few_tokens), ErrorKind::memory,
               "of 32 tokens; the caller's limit is 31");
  EXPECT_TRUE(read(*open(codec, &sufficient)).ok());
  const kvs_limits rows{0, 32 * 192 - 1};  // 3 layers of 16 + 16 halves
  const kvs_options few_rows = lend(&kvs_options::limits, rows);
  expect_error(read(*open(codec, &few_rows)), ErrorKind::memory, "would take 6144 bytes");
}

struct Threads {
  std::atomic<int> loops{0}, bodies{0};

  static void run(void* user, size_t n, void (*body)(void*, size_t), void* data) {
    auto& self = *static_cast<Threads*>(user);
    ++self.loops;
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i; (i = next++) < n;) body(data, i), ++self.bodies;
    };
    std::thread other(work);
    work();
    other.join();
  }
};

TEST_F(Lent, ThreadsDoTheWork) {
  const GoldenCase klt("klt");  // whose units are coded side by side
  Threads threads;
  const kvs_executor executor{&threads, 2, Threads::run};
  const kvs_options options = lend(&kvs_options::executor, executor);
  const auto decode = [&](const Codec& codec) {
    BlockInMemory place(codec, 32, KVS_F32);
    const auto positions = klt.column("positions");
    EXPECT_TRUE(codec.decode(klt.bytes(), place.of(klt.tokens(), positions, KVS_CACHED)).ok());
    return place.rows(Kind::value, 2).get();
  };
  const Codec lent = klt.codec(&options);
  EXPECT_GT(threads.loops, 0);
  threads.loops = threads.bodies = 0;
  const Matrix<float> met = decode(lent);
  EXPECT_GE(threads.loops, 1);
  EXPECT_GE(threads.bodies, 6);
  const int bodies = threads.bodies;
  EXPECT_EQ(met, decode(klt.codec()));
  EXPECT_EQ(threads.bodies, bodies);  // they are lent to one codec alone

  const auto session = Session::open(klt.session_path(), &lent, nullptr, &options);
  const auto without = Session::open(klt.session_path(), &lent);
  threads.loops = 0;
  EXPECT_EQ(*read(*session), *read(*without));
  EXPECT_GE(threads.loops, 1);
}

struct Memory {
  int given = 0, taken_back = 0, most = 1000;

  static void* allocate(void* user, size_t bytes) {
    auto& self = *static_cast<Memory*>(user);
    if (self.given == self.most) return nullptr;
    ++self.given;
    return std::malloc(bytes);
  }
  static void release(void* user, void* bytes) {
    ++static_cast<Memory*>(user)->taken_back;
    std::free(bytes);
  }
};

TEST_F(Lent, MemoryIsGivenBack) {
  Memory memory;
  const kvs_allocator allocator{&memory, Memory::allocate, Memory::release};
  const kvs_options options = lend(&kvs_options::allocator, allocator);
  const Codec codec = golden_.codec(&options);
  EXPECT_EQ(*encode(codec), *encode(golden_.codec()));
  EXPECT_EQ(memory.given, 1);
  EXPECT_EQ(memory.taken_back, 1);
  memory.most = 1;
  expect_error(encode(codec), ErrorKind::memory, "out of memory");
  EXPECT_EQ(memory.taken_back, 1);
}

TEST_F(Lent, ASessionGrowsInTheirMemory) {
  Memory memory;
  const kvs_allocator allocator{&memory, Memory::allocate, Memory::release};
  const kvs_options options = lend(&kvs_options::allocator, allocator);
  const Codec codec = golden_.codec();
  BlockInMemory from(codec, positions_.size(), KVS_F16);
  for (size_t l = 0; l < from.layers(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) from.rows(kind, l).set(golden_.rows(kind, l));
  }
  std::vector<int32_t> positions(positions_.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto pack = [&](const kvs_options* with) {
    return Session::pack(from.of(golden_.tokens(), positions, KVS_CACHED), {}, &codec, nullptr,
                         &embeddings_, nullptr, with);
  };
  const auto wanted = pack(nullptr);
  ASSERT_TRUE(wanted.ok()) << wanted.error().message;
  {
    const auto met = pack(&options);
    ASSERT_TRUE(met.ok()) << met.error().message;
    EXPECT_TRUE(std::ranges::equal(met->bytes(), wanted->bytes()));
    EXPECT_EQ(memory.given - memory.taken_back, 1);
  }
  EXPECT_EQ(memory.given, memory.taken_back);
  const int steps = memory.given;
  EXPECT_GT(steps, 2);
  for (memory.most = 0; memory.most < steps; ++memory.most) {
    memory.given = memory.taken_back = 0;
    expect_error(pack(&options), ErrorKind::memory, "out of memory");
    EXPECT_EQ(memory.taken_back, memory.most);
  }
}

TEST_F(Lent, EarsHearOfAnInterruptedAppend) {
  std::string heard;
  const kvs_log log{
      &heard, [](void* user, const char* message) { *static_cast<std::string*>(user) += message; }};
  const kvs_options options = lend(&kvs_options::log, log);
  const std::string path = folder_.file("cut.kvz");
  std::filesystem::copy_file(golden_path("lossless.kvz"), path);
  ASSERT_TRUE(Session::open(path, nullptr, nullptr, &options).ok());
  EXPECT_EQ(heard, "");
  std::ofstream(path, std::ios::app) << "half a record";
  const auto session = Session::open(path, nullptr, nullptr, &options);
  ASSERT_TRUE(session.ok()) << session.error().message;
  EXPECT_EQ(session->size(), 32u);
  EXPECT_NE(heard.find("13 bytes behind its end are ignored"), std::string::npos) << heard;
}

struct Steps {
  std::vector<std::pair<size_t, size_t>> met;
  size_t stop_at = SIZE_MAX;

  static int step(void* user, size_t done, size_t total) {
    auto& self = *static_cast<Steps*>(user);
    self.met.emplace_back(done, total);
    return self.met.size() > self.stop_at;
  }
};

TEST_F(Lent, ProgressIsToldAndMayStop) {
  Steps steps;
  const kvs_progress progress{&steps, Steps::step};
  const kvs_options options = lend(&kvs_options::progress, progress);
  const Codec codec = golden_.codec();
  const Session session = std::move(open(codec, &options)).value();
  for (const kvs_element element : {KVS_F16, KVS_F32}) {
    steps = {};
    EXPECT_TRUE(read(session, element).ok());
    ASSERT_FALSE(steps.met.empty());
    for (const auto& [done, total] : steps.met) EXPECT_LT(done, total);
    steps = {{}, 0};
    expect_error(read(session, element), ErrorKind::interrupted, "stopped on request");
  }
}

TEST_F(Lent, EmbeddingsAreAskedFor) {
  const Codec codec = golden_.codec();
  BlockInMemory place(codec, positions_.size(), KVS_F32);
  kvs_block& block = place.of(golden_.tokens(), positions_, KVS_RAW);
  expect_error(codec.decode(golden_.bytes(), block), ErrorKind::usage, "no embeddings");
  kvs_embeddings other = embeddings_;
  other.dim = 8;
  expect_error(codec.decode(golden_.bytes(), block, &other), ErrorKind::usage, "8 wide");
  other = {nullptr, 16, [](void*, const int32_t*, size_t, float*) { return 1; }};
  expect_error(codec.decode(golden_.bytes(), block, &other), ErrorKind::io, "gave no embeddings");
  EXPECT_TRUE(codec.decode(golden_.bytes(), block, &embeddings_).ok());
}

TEST_F(Lent, FunctionsMustBeThere) {
  const kvs_executor no_run{nullptr, 2, nullptr}, no_threads{nullptr, 0, Threads::run};
  const kvs_allocator half{nullptr, Memory::allocate, nullptr};
  const kvs_log no_write{};
  const kvs_progress no_step{};
  for (const kvs_options& options :
       {lend(&kvs_options::executor, no_run), lend(&kvs_options::executor, no_threads),
        lend(&kvs_options::allocator, half), lend(&kvs_options::log, no_write),
        lend(&kvs_options::progress, no_step)}) {
    expect_error(Codec::open(golden_.codec_path(), &options), ErrorKind::usage, "");
    expect_error(Session::open(golden_path("lossless.kvz"), nullptr, nullptr, &options),
                 ErrorKind::usage, "");
  }
}

// Two threads of a caller, with one codec and one session.
TEST_F(Lent, ToTwoThreadsAtOnce) {
  const Codec codec = golden_.codec();
  const Session session = std::move(open(codec, nullptr)).value();
  const Bytes wanted_bytes = *encode(codec);
  const Matrix<float> wanted_rows = *read(session);
  const auto work = [&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(*encode(codec), wanted_bytes);
      EXPECT_EQ(*read(session), wanted_rows);
      EXPECT_EQ(*read(session, KVS_F16), wanted_rows);
      expect_error(Codec::open(golden_.session_path()), ErrorKind::format, "");
    }
  };
  std::thread other(work);
  work();
  other.join();
}

}  // namespace
}  // namespace kvsplice::api
