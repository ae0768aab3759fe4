#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "core/disk_file.h"
#include "core/half.h"
#include "core/limits.h"
#include "gguf/gguf_file.h"
#include "gguf/wire.h"

namespace kvsplice::gguf {

namespace {

// Where a tensor's values go, and which of them have come.
struct Slot {
  TensorInfo info;
  uint64_t offset = 0;               // from the start of the data
  std::map<size_t, size_t> written;  // ranges: first -> behind the last; no two overlap

  bool has_any_of(size_t first, size_t end) const {
    const auto next = written.lower_bound(first);
    if (next != written.end() && next->first < end) return true;
    return next != written.begin() && std::prev(next)->second > first;
  }
  size_t count() const {
    size_t sum = 0;
    for (const auto& [first, end] : written) sum += end - first;
    return sum;
  }
};

// Far below what 64 bits hold, so that sums of sizes need no care.
constexpr uint64_t kMostValues = uint64_t{1} << 48;

bool is_countable(const TensorInfo& tensor) {
  uint64_t count = 1;
  for (size_t dim : tensor.dims) {
    if (dim == 0 || dim > kMostValues / count) return false;
    count *= dim;
  }
  return true;
}

void put_type(ByteWriter& out, ValueType type) { out.put(static_cast<uint32_t>(type)); }

void put_text(ByteWriter& out, std::string_view text) {
  out.put<uint64_t>(text.size());
  out.put_array(std::span<const char>(text));
}

template <class T>
Bytes scalar(ValueType type, T value) {
  ByteWriter out;
  put_type(out, type);
  out.put(value);
  return out.take();
}

ByteWriter begin_array(ValueType type, size_t count) {
  ByteWriter out;
  put_type(out, ValueType::array);
  put_type(out, type);
  out.put<uint64_t>(count);
  return out;
}

template <class T>
Bytes array(ValueType type, const std::vector<T>& values) {
  ByteWriter out = begin_array(type, values.size());
  out.put_array(std::span<const T>(values));
  return out.take();
}

// GGUF drops the outermost dimensions that are 1, and has the others innermost first.
void put_info(ByteWriter& out, const Slot& slot) {
  std::vector<uint64_t> dims(slot.info.dims.rbegin(), slot.info.dims.rend());
  while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
  put_text(out, slot.info.name);
  out.put(static_cast<uint32_t>(dims.size()));
  out.put_array(std::span<const uint64_t>(dims));
  out.put(format_of(slot.info.type).number);
  out.put(slot.offset);
}

}  // namespace

struct GgufWriter::Impl {
  std::optional<DiskFile> file;  // if none, the file is in memory
  Bytes memory;
  std::vector<std::pair<std::string, Bytes>> metadata;  // the type and what follows it
  std::vector<TensorInfo> declared;
  std::vector<Slot> slots;
  std::map<std::string, size_t> by_name;  // into slots
  uint64_t data = 0;                      // where the tensors' data start
  bool in_data = false;

  std::string name() const { return file ? file->path() : "a GGUF file in memory"; }
  Error misused(const std::string& what) const {
    return {ErrorKind::usage, fmt::format("{}: {}", name(), what)};
  }

  void set(const std::string& key, Bytes value);
  Result<> check_metadata() const;
  Result<> check_declared() const;
  uint64_t lay_out();
  Bytes header() const;
  Result<> resize(uint64_t size);
  Result<> put_bytes(uint64_t at, ByteSpan bytes);
  Result<Slot*> slot_for(const std::string& tensor, size_t first, size_t n, bool integers);
  template <class T>
  Result<> put(Slot& slot, size_t first, std::span<const T> values);
  Result<> put_small(Slot& slot, size_t first, std::span<const float> values);
  Result<> put_halves(Slot& slot, size_t first, std::span<const float> values);
  Result<> check_written() const;
};

void GgufWriter::Impl::set(const std::string& key, Bytes value) {
  std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  metadata.emplace_back(key, std::move(value));
}

Result<> GgufWriter::Impl::check_metadata() const {
  for (const auto& [key, value] : metadata) {
    if (key.empty()) return misused("a key is empty");
    if (key == kAlignmentKey) return misused(fmt::format("'{}' is not for callers", key));
  }
  return {};
}

Result<> GgufWriter::Impl::check_declared() const {
  std::map<std::string, int> seen;
  for (const TensorInfo& t : declared) {
    if (t.name.empty() || t.name.size() > limits::kTensorName) {
      return misused(fmt::format("tensor name '{}' must have 1 ... {} characters", t.name,
                                 limits::kTensorName));
    }
    if (++seen[t.name] > 1) return misused(fmt::format("tensor '{}' is declared twice", t.name));
    if (t.dims.empty() || t.dims.size() > limits::kTensorDims || !is_countable(t)) {
      return misused(
          fmt::format("tensor '{}' must have 1 ... {} dimensions, none of them 0, and "
                      "at most {} values",
                      t.name, limits::kTensorDims, kMostValues));
    }
  }
  return {};
}

// Finds the places of the tensors and returns the size of their data.
uint64_t GgufWriter::Impl::lay_out() {
  slots.clear(), by_name.clear();
  uint64_t end = 0;
  for (const TensorInfo& t : declared) {
    by_name.emplace(t.name, slots.size());
    slots.push_back({t, end, {}});
    end += padded(uint64_t{t.count()} * format_of(t.type).bytes, kAlignment);
  }
  return end;
}

Bytes GgufWriter::Impl::header() const {
  ByteWriter out;
  out.put_array(std::span<const char>(kMagic));
  out.put(kVersion);
  out.put<uint64_t>(slots.size());
  out.put<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    put_text(out, key);
    out.put_bytes(value);
  }
  for (const Slot& slot : slots) put_info(out, slot);
  Bytes bytes = out.take();
  bytes.resize(padded(bytes.size(), kAlignment));
  return bytes;
}

Result<> GgufWriter::Impl::resize(uint64_t size) {
  if (file) return file->resize(size);
  memory.resize(size);
  return {};
}

Result<> GgufWriter::Impl::put_bytes(uint64_t at, ByteSpan bytes) {
  if (file) return file->write(at, bytes);
  std::copy(bytes.begin(), bytes.end(), memory.begin() + static_cast<ptrdiff_t>(at));
  return {};
}

Result<Slot*> GgufWriter::Impl::slot_for(const std::string& tensor, size_t first, size_t n,
                                         bool integers) {
  if (!in_data) return misused("values come after begin_data()");
  const auto found = by_name.find(tensor);
  if (found == by_name.end()) return misused(fmt::format("tensor '{}' is not declared", tensor));
  Slot& slot = slots[found->second];
  if (first > slot.info.count() || n > slot.info.count() - first) {
    return misused(fmt::format("values {} ... {} of tensor '{}', which has {}", first, first + n,
                               tensor, slot.info.count()));
  }
  if (integers != (slot.info.type == TensorType::i32)) {
    return misused(fmt::format("tensor '{}' holds {}", tensor, integers ? "numbers" : "integers"));
  }
  if (slot.has_any_of(first, first + n)) {
    return misused(fmt::format("some of values {} ... {} of tensor '{}' were written before", first,
                               first + n, tensor));
  }
  return &slot;
}

template <class T>
Result<> GgufWriter::Impl::put(Slot& slot, size_t first, std::span<const T> values) {
  KVS_TRY(put_bytes(data + slot.offset + first * sizeof(T),
                    {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()}));
  if (!values.empty()) slot.written[first] = first + values.size();
  return {};
}

Result<> GgufWriter::Impl::put_small(Slot& slot, size_t first, std::span<const float> values) {
  std::vector<int8_t> bytes(values.size());
  std::transform(values.begin(), values.end(), bytes.begin(), [](float v) {
    return v >= -128 && v <= 127 ? static_cast<int8_t>(v) : int8_t{0};
  });
  const auto bad = std::mismatch(values.begin(), values.end(), bytes.begin()).first;
  if (bad != values.end()) {
    return Error{ErrorKind::numeric,
                 fmt::format("{}: value {} of tensor '{}' is {}, i8 holds integers -128 ... 127",
                             name(), first + size_t(bad - values.begin()), slot.info.name, *bad)};
  }
  return put(slot, first, std::span<const int8_t>(bytes));
}

Result<> GgufWriter::Impl::put_halves(Slot& slot, size_t first, std::span<const float> values) {
  std::vector<uint16_t> halves(values.size());
  std::transform(values.begin(), values.end(), halves.begin(), to_half);
  const auto bad = std::find_if_not(halves.begin(), halves.end(), is_finite_half);
  if (bad != halves.end()) {
    const auto at = static_cast<size_t>(bad - halves.begin());
    return Error{ErrorKind::numeric,
                 fmt::format("{}: value {} of tensor '{}' is {}, f16 holds at most 65504", name(),
                             first + at, slot.info.name, values[at])};
  }
  return put(slot, first, std::span<const uint16_t>(halves));
}

Result<> GgufWriter::Impl::check_written() const {
  if (!in_data) return misused("finish() comes after begin_data()");
  for (const auto& [name, i] : by_name) {
    if (slots[i].count() == slots[i].info.count()) continue;
    return misused(fmt::format("{} of {} values of tensor '{}' were written", slots[i].count(),
                               slots[i].info.count(), name));
  }
  return {};
}

GgufWriter::GgufWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  set("general.architecture", std::string("kvsplice"));
  set("general.type", std::string("kvsplice"));
}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

GgufWriter GgufWriter::begin(OutputFile output) {
  auto impl = std::make_unique<Impl>();
  impl->file = DiskFile::replace(std::move(output));
  return GgufWriter(std::move(impl));
}

Result<GgufWriter> GgufWriter::create(const std::string& path, Readers readers) {
  KVS_ASSIGN(OutputFile output, OutputFile::reserve(path, readers));
  return begin(std::move(output));
}

GgufWriter GgufWriter::in_memory() { return GgufWriter(std::make_unique<Impl>()); }

void GgufWriter::set(const std::string& key, const std::string& value) {
  ByteWriter out;
  put_type(out, ValueType::text);
  put_text(out, value);
  impl_->set(key, out.take());
}
void GgufWriter::set(const std::string& key, int64_t value) {
  impl_->set(key, scalar(ValueType::i64, value));
}
void GgufWriter::set(const std::string& key, uint32_t value) {
  impl_->set(key, scalar(ValueType::u32, value));
}
void GgufWriter::set(const std::string& key, double value) {
  impl_->set(key, scalar(ValueType::f64, value));
}
void GgufWriter::set(const std::string& key, float value) {
  impl_->set(key, scalar(ValueType::f32, value));
}
void GgufWriter::set(const std::string& key, bool value) {
  impl_->set(key, scalar(ValueType::flag, uint8_t{value}));
}
void GgufWriter::set(const std::string& key, const std::vector<std::string>& values) {
  ByteWriter out = begin_array(ValueType::text, values.size());
  for (const std::string& v : values) put_text(out, v);
  impl_->set(key, out.take());
}
void GgufWriter::set(const std::string& key, const std::vector<int32_t>& values) {
  impl_->set(key, array(ValueType::i32, values));
}
void GgufWriter::set(const std::string& key, const std::vector<float>& values) {
  impl_->set(key, array(ValueType::f32, values));
}

void GgufWriter::declare(const TensorInfo& tensor) { impl_->declared.push_back(tensor); }

Result<> GgufWriter::begin_data() {
  if (impl_->in_data) return impl_->misused("begin_data() comes once");
  KVS_TRY(impl_->check_metadata());
  KVS_TRY(impl_->check_declared());
  const uint64_t data_size = impl_->lay_out();
  const Bytes header = impl_->header();
  if (header.size() > limits::kGgufHeader) {
    return impl_->misused(fmt::format("the header has {} bytes; at most {} are read", header.size(),
                                      limits::kGgufHeader));
  }
  impl_->data = header.size();
  KVS_TRY(impl_->resize(header.size() + data_size));
  KVS_TRY(impl_->put_bytes(0, header));
  impl_->in_data = true;
  return {};
}

Result<> GgufWriter::write(const std::string& tensor, size_t first, std::span<const float> values) {
  KVS_ASSIGN(Slot * slot, impl_->slot_for(tensor, first, values.size(), false));
  if (slot->info.type == TensorType::f32) return impl_->put(*slot, first, values);
  return slot->info.type == TensorType::i8 ? impl_->put_small(*slot, first, values)
                                           : impl_->put_halves(*slot, first, values);
}

Result<> GgufWriter::write(const std::string& tensor, size_t first,
                           std::span<const int32_t> values) {
  KVS_ASSIGN(Slot * slot, impl_->slot_for(tensor, first, values.size(), true));
  return impl_->put(*slot, first, values);
}

Result<> GgufWriter::finish() {
  KVS_TRY(impl_->check_written());
  if (!impl_->file) return impl_->misused("it is finished by finish_bytes()");
  return impl_->file->publish();
}

Result<Bytes> GgufWriter::finish_bytes() {
  KVS_TRY(impl_->check_written());
  if (impl_->file) return impl_->misused("it is finished by finish()");
  return std::move(impl_->memory);
}

}  // namespace kvsplice::gguf
