// The worked example of docs/format.md is what the code writes, byte by byte.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>

#include "core/file.h"
#include "session/generated_cells.h"

namespace kvsplice::session {
namespace {

ModelShape tiny_shape() {
  ModelShape shape;
  shape.model_name = "tiny";
  shape.architecture = "llama";
  shape.fingerprint = "0123456789abcdef0123456789abcdef";
  shape.layers.resize(1);
  shape.layers[0].kv_heads = 1;
  shape.layers[0].key_dim = 2;
  shape.layers[0].value_dim = 1;
  return shape;
}

Cells two_tokens() {
  Cells cells = no_cells(tiny_shape(), 0, 2);
  cells.tokens = {1, 300};
  const float keys[] = {1, 2, 3, -0.5f}, values[] = {0.25f, -8};
  std::transform(std::begin(keys), std::end(keys), cells.keys[0].data(), to_half);
  std::transform(std::begin(values), std::end(values), cells.values[0].data(), to_half);
  return cells;
}

// Lines of the page that read "    <offset>  <bytes>   <words>".
Bytes bytes_of_page() {
  const std::string page = read_text(KVSPLICE_SOURCE_DIR "/docs/format.md").value();
  std::istringstream lines(page.substr(page.find("## Worked example")));
  Bytes bytes;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("    ")) continue;
    std::istringstream words(line.substr(0, line.find("   ", 10)));
    size_t offset = 0;
    words >> std::hex >> offset;
    EXPECT_EQ(offset, bytes.size()) << line;
    for (unsigned byte = 0; words >> byte;) bytes.push_back(static_cast<uint8_t>(byte));
  }
  return bytes;
}

std::string hex(const Bytes& bytes) {
  std::string out;
  for (uint8_t b : bytes) out += fmt::format("{:02x} ", b);
  return out;
}

TEST(Example, ThePageShowsWhatIsWritten) {
  const TemporaryFile file(".kvz");
  const Coder lossless{tiny_shape(), nullptr, nullptr};
  const std::vector<int32_t> pending = {7};
  ASSERT_TRUE(pack(file.path(), two_tokens(), pending, lossless, {}, {}).ok());
  EXPECT_EQ(hex(read_file(file.path()).value()), hex(bytes_of_page()));
}

TEST(Example, ThePageReadsBack) {
  const TemporaryFile file(".kvz");
  ASSERT_TRUE(write_file(file.path(), bytes_of_page()).ok());
  const auto session = Session::open(file.path(), {tiny_shape(), nullptr, nullptr});
  ASSERT_TRUE(session.ok()) << session.error().message;
  expect_equal(session->read(0, 2, {}).value(), two_tokens());
  EXPECT_EQ(session->file().index().pending, (std::vector<int32_t>{7}));
}

}  // namespace
}  // namespace kvsplice::session
