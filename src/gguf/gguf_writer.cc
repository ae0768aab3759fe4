#include <fmt/format.h>
#include <ggml.h>
#include <gguf.h>

#include <algorithm>
#include <map>

#include "core/disk_file.h"
#include "host/gguf_file.h"

namespace kvsplice::host {

namespace {

struct Freer {
  void operator()(gguf_context* c) const { gguf_free(c); }
  void operator()(ggml_context* c) const { ggml_free(c); }
};

ggml_type ggml_type_of(TensorType type) {
  switch (type) {
    case TensorType::f32:
      return GGML_TYPE_F32;
    case TensorType::f16:
      return GGML_TYPE_F16;
    case TensorType::i8:
      return GGML_TYPE_I8;
    case TensorType::i32:
      return GGML_TYPE_I32;
  }
  return GGML_TYPE_COUNT;
}

// Where a tensor's values go, and which of them have come.
struct Slot {
  TensorInfo info;
  uint64_t offset = 0;
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

bool is_finite(ggml_fp16_t half) { return (half & 0x7c00) != 0x7c00; }

}  // namespace

struct GgufWriter::Impl {
  explicit Impl(OutputFile output) : file(DiskFile::replace(std::move(output))) {}

  DiskFile file;
  std::unique_ptr<gguf_context, Freer> header{gguf_init_empty()};
  std::vector<TensorInfo> declared;
  std::map<std::string, Slot> slots;
  bool in_data = false;

  const std::string& path() const { return file.path(); }
  Error misused(const std::string& what) const {
    return {ErrorKind::usage, fmt::format("{}: {}", path(), what)};
  }

  Result<> check_declared() const;
  Result<uint64_t> lay_out();
  Result<Slot*> slot_for(const std::string& tensor, size_t first, size_t n, bool integers);
  template <class T>
  Result<> put(Slot& slot, size_t first, std::span<const T> values);
};

Result<> GgufWriter::Impl::check_declared() const {
  std::map<std::string, int> seen;
  for (const TensorInfo& t : declared) {
    if (t.name.empty() || t.name.size() >= GGML_MAX_NAME) {
      return misused(
          fmt::format("tensor name '{}' must have 1 ... {} characters", t.name, GGML_MAX_NAME - 1));
    }
    if (++seen[t.name] > 1) return misused(fmt::format("tensor '{}' is declared twice", t.name));
    if (t.dims.empty() || t.dims.size() > 4 || t.count() == 0) {
      return misused(
          fmt::format("tensor '{}' must have 1 ... 4 dimensions, none of them 0", t.name));
    }
  }
  return {};
}

// Enters the tensors into the header and finds their places; returns the size of the whole file.
Result<uint64_t> GgufWriter::Impl::lay_out() {
  const size_t room = ggml_tensor_overhead() * (declared.size() + 1);
  std::unique_ptr<ggml_context, Freer> scratch(ggml_init({room, nullptr, true}));
  if (!scratch) return misused("no memory for the list of tensors");
  for (const TensorInfo& t : declared) {
    std::vector<int64_t> ne(t.dims.rbegin(), t.dims.rend());
    ggml_tensor* tensor =
        ggml_new_tensor(scratch.get(), ggml_type_of(t.type), int(ne.size()), ne.data());
    ggml_set_name(tensor, t.name.c_str());
    gguf_add_tensor(header.get(), tensor);
  }
  const uint64_t data = gguf_get_meta_size(header.get());
  uint64_t end = data;
  for (size_t i = 0; i < declared.size(); ++i) {
    const auto id = static_cast<int64_t>(i);
    const uint64_t offset = data + gguf_get_tensor_offset(header.get(), id);
    const uint64_t size = gguf_get_tensor_size(header.get(), id);
    end = offset + GGML_PAD(size, gguf_get_alignment(header.get()));
    slots[declared[i].name] = {declared[i], offset, {}};
  }
  return end;
}

Result<Slot*> GgufWriter::Impl::slot_for(const std::string& tensor, size_t first, size_t n,
                                         bool integers) {
  if (!in_data) return misused("values come after begin_data()");
  const auto found = slots.find(tensor);
  if (found == slots.end()) return misused(fmt::format("tensor '{}' is not declared", tensor));
  Slot& slot = found->second;
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
  KVS_TRY(file.write(slot.offset + first * sizeof(T),
                     {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()}));
  if (!values.empty()) slot.written[first] = first + values.size();
  return {};
}

GgufWriter::GgufWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufWriter::GgufWriter(GgufWriter&&) noexcept = default;
GgufWriter& GgufWriter::operator=(GgufWriter&&) noexcept = default;
GgufWriter::~GgufWriter() = default;

GgufWriter GgufWriter::begin(OutputFile output) {
  GgufWriter writer(std::make_unique<Impl>(std::move(output)));
  writer.set("general.architecture", std::string("kvsplice"));
  writer.set("general.type", std::string("kvsplice"));
  return writer;
}

Result<GgufWriter> GgufWriter::create(const std::string& path, Readers readers) {
  KVS_ASSIGN(OutputFile output, OutputFile::reserve(path, readers));
  return begin(std::move(output));
}

void GgufWriter::set(const std::string& key, const std::string& value) {
  gguf_set_val_str(impl_->header.get(), key.c_str(), value.c_str());
}
void GgufWriter::set(const std::string& key, int64_t value) {
  gguf_set_val_i64(impl_->header.get(), key.c_str(), value);
}
void GgufWriter::set(const std::string& key, double value) {
  gguf_set_val_f64(impl_->header.get(), key.c_str(), value);
}
void GgufWriter::set(const std::string& key, bool value) {
  gguf_set_val_bool(impl_->header.get(), key.c_str(), value);
}
void GgufWriter::set(const std::string& key, const std::vector<std::string>& values) {
  std::vector<const char*> texts;
  for (const std::string& v : values) texts.push_back(v.c_str());
  gguf_set_arr_str(impl_->header.get(), key.c_str(), texts.data(), texts.size());
}
void GgufWriter::set(const std::string& key, const std::vector<int32_t>& values) {
  gguf_set_arr_data(impl_->header.get(), key.c_str(), GGUF_TYPE_INT32, values.data(),
                    values.size());
}
void GgufWriter::set(const std::string& key, const std::vector<float>& values) {
  gguf_set_arr_data(impl_->header.get(), key.c_str(), GGUF_TYPE_FLOAT32, values.data(),
                    values.size());
}

void GgufWriter::declare(const TensorInfo& tensor) { impl_->declared.push_back(tensor); }

Result<> GgufWriter::begin_data() {
  if (impl_->in_data) return impl_->misused("begin_data() comes once");
  KVS_TRY(impl_->check_declared());
  KVS_ASSIGN(uint64_t file_size, impl_->lay_out());
  Bytes meta(gguf_get_meta_size(impl_->header.get()));
  gguf_get_meta_data(impl_->header.get(), meta.data());
  KVS_TRY(impl_->file.write(0, meta));
  KVS_TRY(impl_->file.resize(file_size));
  impl_->in_data = true;
  return {};
}

Result<> GgufWriter::write(const std::string& tensor, size_t first, std::span<const float> values) {
  KVS_ASSIGN(Slot * slot, impl_->slot_for(tensor, first, values.size(), false));
  if (slot->info.type == TensorType::f32) {
    return impl_->put(*slot, first, values);
  }
  if (slot->info.type == TensorType::i8) {
    std::vector<int8_t> bytes(values.size());
    std::transform(values.begin(), values.end(), bytes.begin(), [](float v) {
      return v >= -128 && v <= 127 ? static_cast<int8_t>(v) : int8_t{0};
    });
    const auto bad = std::mismatch(values.begin(), values.end(), bytes.begin()).first;
    if (bad != values.end()) {
      return Error{ErrorKind::numeric,
                   fmt::format("{}: value {} of tensor '{}' is {}, i8 holds integers -128 ... 127",
                               impl_->path(), first + size_t(bad - values.begin()), tensor, *bad)};
    }
    return impl_->put(*slot, first, std::span<const int8_t>(bytes));
  }
  std::vector<ggml_fp16_t> halves(values.size());
  ggml_fp32_to_fp16_row(values.data(), halves.data(), static_cast<int64_t>(values.size()));
  const auto bad = std::find_if_not(halves.begin(), halves.end(), is_finite);
  if (bad != halves.end()) {
    const auto at = static_cast<size_t>(bad - halves.begin());
    return Error{ErrorKind::numeric,
                 fmt::format("{}: value {} of tensor '{}' is {}, f16 holds at most 65504",
                             impl_->path(), first + at, tensor, values[at])};
  }
  return impl_->put(*slot, first, std::span<const ggml_fp16_t>(halves));
}

Result<> GgufWriter::write(const std::string& tensor, size_t first,
                           std::span<const int32_t> values) {
  KVS_ASSIGN(Slot * slot, impl_->slot_for(tensor, first, values.size(), true));
  return impl_->put(*slot, first, values);
}

Result<> GgufWriter::finish() {
  if (!impl_->in_data) return impl_->misused("finish() comes after begin_data()");
  for (const auto& [name, slot] : impl_->slots) {
    if (slot.count() != slot.info.count()) {
      return impl_->misused(fmt::format("{} of {} values of tensor '{}' were written", slot.count(),
                                        slot.info.count(), name));
    }
  }
  return impl_->file.publish();
}

}  // namespace kvsplice::host
