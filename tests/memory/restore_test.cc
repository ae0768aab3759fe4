// A restore that runs out of memory anywhere ends in an error that says so.
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <optional>

#include "../conformance/generated_cache.h"
#include "allocations.h"
#include "core/threads.h"
#include "session/generated_cells.h"

namespace kvsplice::session {
namespace {

using memory::NoMemoryFrom;

struct Way {
  const char* name;
  const char* pipeline;  // none: lossless
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

constexpr Way kKinds[] = {
    {"lossless", ""},
    {"exact", "exact | range"},
    {"fixed", "hadamard | uniform(bits=4,block=32)"},
    {"usual", "layers | focus | klt(stored=packed) | step(delta=0.3,recall=64) | range"},
    {"fisher", "layers | fisher | klt | step(delta=0.3) | range"},
};

class OutOfMemory : public testing::TestWithParam<Way> {
 protected:
  OutOfMemory() : before_(thread_count()) {
    const ModelShape shape = codec::usual_shape();
    const std::string pipeline = GetParam().pipeline;
    std::optional<codec::Codec> codec;
    if (!pipeline.empty()) {
      codec = codec::fit_codec(pipeline, shape).value();
      EXPECT_TRUE(codec->save(codec_.path()).ok());
    }
    KvBlock<float> block = codec::generate_block(shape, 150, 3);
    std::iota(block.positions.begin(), block.positions.end(), 0);
    const Cells cells = convert<uint16_t>(block, shape, Space::cached);
    const Coder coder{shape, codec ? &*codec : nullptr, &embeddings_};
    const auto packed = pack(session_.path(), cells, {}, coder, {64, 4, 16}, {});
    EXPECT_TRUE(packed.ok()) << packed.error().message;
  }
  ~OutOfMemory() override { set_thread_count(before_); }

  Result<Cells> restore() {
    std::optional<codec::Codec> codec;
    if (*GetParam().pipeline != 0) {
      KVS_ASSIGN(codec, codec::Codec::load(codec_.path()));
    }
    coder_.codec = codec ? &*codec : nullptr;
    KVS_ASSIGN(const Session session, Session::open(session_.path(), coder_));
    return session.read(0, session.size(), {});
  }

  // Fails from the k-th allocation on, for k = 1, 2, ... and then for some hundred others.
  void fail_everywhere(int threads) {
    set_thread_count(threads);
    ASSERT_TRUE(restore().ok());
    const auto all = [&] {
      const NoMemoryFrom never(~size_t{0});
      EXPECT_TRUE(restore().ok());
      return never.asked();
    }();
    size_t failures = 0;
    for (size_t k = 1; k <= all; k += k < 200 ? 1 : 1 + all / 300) {
      std::optional<Error> error;
      {
        const NoMemoryFrom here(k);
        const auto restored = restore();
        if (!restored.ok()) error = restored.error();
      }
      if (!error) continue;
      ++failures;
      ASSERT_EQ(error->kind, ErrorKind::memory) << k << " of " << all << ": " << error->message;
      ASSERT_EQ(error->message, "out of memory") << k;
    }
    EXPECT_GT(failures, 100u);
    EXPECT_TRUE(restore().ok());
  }

  const codec::Embeddings embeddings_ = codec::generate_embeddings();
  Coder coder_{codec::usual_shape(), nullptr, &embeddings_};
  const TemporaryFile codec_{".gguf"}, session_{".kvz"};
  const int before_;
};

TEST_P(OutOfMemory, IsAnErrorAtEveryAllocationOfOneThread) { fail_everywhere(1); }
TEST_P(OutOfMemory, IsAnErrorAtEveryAllocationOfThreeThreads) { fail_everywhere(3); }

INSTANTIATE_TEST_SUITE_P(All, OutOfMemory, testing::ValuesIn(kKinds),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace kvsplice::session
