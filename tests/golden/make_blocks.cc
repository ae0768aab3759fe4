// usage: make_blocks GOLDEN FOLDER: encodes the decoded rows of every golden block anew, and writes
//        what comes out, and what that decodes to here, to FOLDER/<case>.golden
//        make_blocks GOLDEN FOLDER --check: decodes blocks that another machine has made so
// So tools/cross sees whether machines understand each other.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "adapters.h"
#include "core/half.h"
#include "core/threads.h"

namespace kvsplice::golden {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> codecs_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".gguf") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

Result<std::vector<int32_t>> column(const GoldenFile& file, const char* name) {
  KVS_ASSIGN(const Matrix<int32_t> values, file.get<int32_t>(name));
  return std::vector<int32_t>(values.flat().begin(), values.flat().end());
}

Result<KvBlock<float>> rows_in(const GoldenFile& file, const Codec& codec) {
  KVS_ASSIGN(const auto units, file.units<float>("rows"));
  KVS_ASSIGN(std::vector<int32_t> tokens, column(file, "tokens"));
  KvBlock<float> block(codec.shape(), keeps_cells(codec) ? Space::cached : Space::raw, 0,
                       tokens.size());
  block.tokens = std::move(tokens);
  KVS_ASSIGN(block.positions, column(file, "positions"));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < block.of(kind).size(); ++l) {
      block.of(kind)[l] = units.at(unit_name(kind, int(l)));
    }
  }
  for (const LayerShape& layer : codec.shape().layers) {
    if (layer.window > 0) block.absent = block.count();
  }
  return block;
}

KvBlock<uint16_t> halves_of(const KvBlock<float>& block) {
  KvBlock<uint16_t> halves;
  halves.tokens = block.tokens, halves.positions = block.positions;
  halves.space = block.space, halves.absent = block.absent;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const Matrix<float>& rows : block.of(kind)) {
      Matrix<uint16_t> made(rows.rows(), rows.cols());
      std::transform(rows.flat().begin(), rows.flat().end(), made.data(), to_half);
      halves.of(kind).push_back(std::move(made));
    }
  }
  return halves;
}

Result<Bytes> encode(const Codec& codec, const GoldenFile& golden) {
  KVS_ASSIGN(const KvBlock<float> block, rows_in(golden, codec));
  codec::Embeddings embeddings;
  if (codec.needs_embeddings()) {
    KVS_ASSIGN(embeddings, embeddings_in(golden));
  }
  if (keeps_cells(codec)) return codec.encode(halves_of(block), &embeddings);
  return codec.encode(block, &embeddings);
}

Result<> write(const Codec& codec, GoldenFile golden, const std::string& path) {
  KVS_ASSIGN(const Bytes bytes, encode(codec, golden));
  golden.put<uint8_t>("block", std::span<const uint8_t>(bytes));
  KVS_ASSIGN(const auto codes, decode_codes(codec, golden));
  KVS_ASSIGN(const auto rows, decode_block(codec, golden));
  golden.put_units("codes", codes);
  golden.put_units("rows", rows);
  return golden.write(path);
}

// The largest difference between the rows, as a part of their unit's rms.
double difference(const Units<float>& here, const Units<float>& there) {
  double worst = 0;
  for (const auto& [unit, rows] : there) {
    double power = 0, most = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const double x = rows.flat()[i];
      power += x * x;
      most = std::max(most, std::abs(x - here.at(unit).flat()[i]));
    }
    if (most > 0) worst = std::max(worst, most / std::sqrt(power / double(rows.size())));
  }
  return worst;
}

Result<> check(const Codec& codec, const GoldenFile& theirs, double& worst) {
  KVS_ASSIGN(const auto codes, decode_codes(codec, theirs));
  KVS_ASSIGN(const auto their_codes, theirs.units<int32_t>("codes"));
  if (codes != their_codes) return Error{ErrorKind::mismatch, "the integers differ"};
  KVS_ASSIGN(const auto rows, decode_block(codec, theirs));
  KVS_ASSIGN(const auto their_rows, theirs.units<float>("rows"));
  const double off = difference(rows, their_rows);
  worst = std::max(worst, off);
  const double allowed = keeps_cells(codec) ? 0 : 1e-5;
  return off <= allowed ? Result<>()
                        : Error{ErrorKind::mismatch, "rows differ by " + std::to_string(off)};
}

Result<> one_case(const fs::path& path, const fs::path& folder, bool checks, double& worst) {
  KVS_ASSIGN(const Codec codec, Codec::load(path.string()));
  const std::string made = (folder / path.stem()).string() + ".golden";
  const std::string golden = fs::path(path).replace_extension(".golden").string();
  KVS_ASSIGN(GoldenFile file, GoldenFile::read(checks ? made : golden));
  return checks ? check(codec, file, worst) : write(codec, std::move(file), made);
}

int run(const fs::path& golden, const fs::path& folder, bool checks) {
  fs::create_directories(folder);
  size_t failed = 0;
  double worst = 0;
  const auto cases = codecs_in(golden);
  for (const fs::path& path : cases) {
    const auto done = one_case(path, folder, checks, worst);
    if (done.ok()) continue;
    std::printf("%s: %s\n", path.stem().string().c_str(), done.error().message.c_str());
    ++failed;
  }
  std::printf("%d blocks %s, %d failed", int(cases.size()), checks ? "decoded" : "encoded",
              int(failed));
  if (checks) std::printf("; the others' rows differ by at most %.1e of their rms", worst);
  std::printf("\n");
  return failed == 0 && !cases.empty() ? 0 : 1;
}

}  // namespace
}  // namespace kvsplice::golden

int main(int argc, char** argv) {
  const bool checks = argc == 4 && std::string(argv[3]) == "--check";
  if (argc != 3 && !checks) {
    std::fprintf(stderr, "usage: make_blocks GOLDEN FOLDER [--check]\n");
    return 2;
  }
  kvsplice::set_thread_count(1);
  return kvsplice::golden::run(argv[1], argv[2], checks);
}
