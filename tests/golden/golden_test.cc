// Files of released formats decode to what they decoded to when they were made.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "adapters.h"
#include "core/half.h"

namespace kvsplice::golden {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAreArray;

const fs::path kFolder = KVSPLICE_SOURCE_DIR "/tests/golden";
constexpr size_t kCodecs = 58, kSessions = 64;  // of all formats

// Paths in the folder without the extension, of the files that have this one.
std::vector<std::string> cases_with(const std::string& extension) {
  std::vector<std::string> cases;
  for (const auto& entry : fs::recursive_directory_iterator(kFolder)) {
    if (entry.path().extension() != extension) continue;
    cases.push_back(fs::relative(entry.path(), kFolder).replace_extension().string());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

std::string case_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

TEST(Golden, AllFilesAreThere) {
  const auto codecs = cases_with(".gguf"), sessions = cases_with(".kvz");
  EXPECT_EQ(codecs.size(), kCodecs);
  EXPECT_EQ(sessions.size(), kSessions);
  std::vector<std::string> either;
  std::set_union(codecs.begin(), codecs.end(), sessions.begin(), sessions.end(),
                 std::back_inserter(either));
  EXPECT_THAT(cases_with(".golden"), ElementsAreArray(either));
}

double rms(const Matrix<float>& rows) {
  double power = 0;
  for (float x : rows.flat()) power += double(x) * x;
  return std::sqrt(power / double(std::max<size_t>(rows.size(), 1)));
}

constexpr double kTolerance = 1e-5;  // of the rms of the unit's rows

void expect_close(const Matrix<float>& met, const Matrix<float>& stored) {
  ASSERT_EQ(met.rows(), stored.rows());
  ASSERT_EQ(met.cols(), stored.cols());
  double worst = 0;
  for (size_t i = 0; i < met.size(); ++i) {
    const double off = std::abs(double(met.flat()[i]) - stored.flat()[i]);
    worst = std::isfinite(off) ? std::max(worst, off) : HUGE_VAL;
  }
  EXPECT_LE(worst, kTolerance * rms(stored));
}

Matrix<float> to_floats(const Matrix<uint16_t>& halves) {
  Matrix<float> floats(halves.rows(), halves.cols());
  std::transform(halves.flat().begin(), halves.flat().end(), floats.data(), from_half);
  return floats;
}

// Cells of tokens that were kept without loss are equal. Others are within the tolerance before
// they are rounded to halves, so few differ, and by no more than one half from the next.
void expect_close(const Matrix<uint16_t>& met, const Matrix<uint16_t>& stored,
                  const std::vector<bool>& exact) {
  ASSERT_EQ(met.rows(), stored.rows());
  ASSERT_EQ(met.cols(), stored.cols());
  const Matrix<float> a = to_floats(met), b = to_floats(stored);
  const double allowed = kTolerance * rms(b);
  size_t others = 0;
  for (size_t r = 0; r < met.rows(); ++r) {
    for (size_t c = 0; c < met.cols(); ++c) {
      if (met(r, c) == stored(r, c)) continue;
      const double next = std::max(std::abs(double(b(r, c))) * 0x1p-10, 0x1p-24);
      EXPECT_FALSE(exact[r]) << r << ", " << c;
      EXPECT_LE(std::abs(double(a(r, c)) - b(r, c)), allowed + next) << r << ", " << c;
      ++others;
    }
  }
  EXPECT_LE(others, met.size() / 20);
}

class EveryCase : public testing::TestWithParam<std::string> {
 protected:
  std::string path(const char* extension) const {
    return (kFolder / (GetParam() + extension)).string();
  }
  std::vector<int32_t> column(const char* name) const {
    const Matrix<int32_t> values = file_.get<int32_t>(name).value();
    return {values.flat().begin(), values.flat().end()};
  }
  const GoldenFile file_ = GoldenFile::read(path(".golden")).value();
};

class EveryCodec : public EveryCase {
 protected:
  const Codec codec_ = Codec::load(path(".gguf")).value();
};

TEST_P(EveryCodec, BlocksHaveTheSameIntegers) {
  const auto met = decode_codes(codec_, file_);
  ASSERT_TRUE(met.ok()) << met.error().message;
  EXPECT_TRUE(*met == file_.units<int32_t>("codes").value());
}

TEST_P(EveryCodec, BlocksDecodeToTheSameRows) {
  const auto met = decode_block(codec_, file_);
  ASSERT_TRUE(met.ok()) << met.error().message;
  const auto stored = file_.units<float>("rows").value();
  ASSERT_EQ(met->size(), stored.size());
  for (const auto& [unit, rows] : stored) {
    SCOPED_TRACE(unit);
    ASSERT_TRUE(met->contains(unit));
    if (keeps_cells(codec_)) {
      EXPECT_TRUE(met->at(unit) == rows);
    } else {
      expect_close(met->at(unit), rows);
    }
  }
}

class EverySession : public EveryCase {};

TEST_P(EverySession, CellsAreTheSame) {
  std::optional<Codec> codec;
  if (fs::exists(path(".gguf"))) codec = Codec::load(path(".gguf")).value();
  const auto met = read_session(path(".kvz"), codec ? &*codec : nullptr, file_);
  ASSERT_TRUE(met.ok()) << met.error().message;
  EXPECT_EQ(met->codec, codec ? codec->fingerprint() : "");
  EXPECT_EQ(met->tokens, column("tokens"));
  EXPECT_EQ(met->pending, column("pending"));
  EXPECT_EQ(met->absent, size_t(column("absent").at(0)));
  const auto stored = file_.units<uint16_t>("cells").value();
  ASSERT_EQ(met->cells.size(), stored.size());
  for (const auto& [unit, cells] : stored) {
    SCOPED_TRACE(unit);
    ASSERT_TRUE(met->cells.contains(unit));
    expect_close(met->cells.at(unit), cells, met->exact);
  }
}

TEST_P(EverySession, RecurrentStatesAreTheSame) {
  std::optional<Codec> codec;
  if (fs::exists(path(".gguf"))) codec = Codec::load(path(".gguf")).value();
  const auto met = read_session(path(".kvz"), codec ? &*codec : nullptr, file_);
  ASSERT_TRUE(met.ok()) << met.error().message;
  size_t rows = 0;
  const Matrix<int32_t> stored =
      file_.has("states") ? file_.get<int32_t>("states").value() : Matrix<int32_t>();
  ASSERT_EQ(met->states.size(), stored.rows());
  for (size_t i = 0; i < stored.rows(); ++i) {
    const session::RecurrentState& state = met->states[i];
    EXPECT_EQ(state.position, size_t(stored(i, 0)));
    EXPECT_EQ(state.model_layers, uint32_t(stored(i, 1)));
    rows += state.rows.size();
    for (const session::StateRow& row : state.rows) {
      const std::string name = row_name(state, row);
      SCOPED_TRACE(name);
      if (row.type == 0) {
        EXPECT_TRUE(numbers_of<float>(row) == file_.get<float>(name).value());
      } else {
        EXPECT_TRUE(numbers_of<uint16_t>(row) == file_.get<uint16_t>(name).value());
      }
    }
  }
  EXPECT_EQ(rows, file_.units<float>("state").value().size() +
                      file_.units<uint16_t>("halves").value().size());
}

INSTANTIATE_TEST_SUITE_P(Golden, EveryCodec, testing::ValuesIn(cases_with(".gguf")), case_name);
INSTANTIATE_TEST_SUITE_P(Golden, EverySession, testing::ValuesIn(cases_with(".kvz")), case_name);

}  // namespace
}  // namespace kvsplice::golden
