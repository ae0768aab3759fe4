#include "live/saved_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/half.h"
#include "core/limits.h"
#include "core/memory.h"

namespace kvsplice::live {

namespace {

// As that of session.kvz, a byte beyond ASCII and both line ends.
constexpr std::array<uint8_t, 8> kMagic = {0x89, 'K', 'V', 'L', '\r', '\n', 0x1a, '\n'};
constexpr uint16_t kFormat = 1;
constexpr size_t kStart = 16;  // bytes that tell the length of the header
constexpr size_t kChecksum = 8;

void seal(ByteWriter& part) { part.put(hash64(part.bytes())); }

// What stands before the checksum.
Result<ByteSpan> opened(ByteSpan part, const std::string& what) {
  const ByteSpan content = part.first(part.size() - kChecksum);
  uint64_t checksum;
  std::memcpy(&checksum, content.data() + content.size(), sizeof checksum);
  if (checksum == hash64(content)) return content;
  return format_error(what + " is damaged: its checksum differs");
}

Result<> get_number(ByteReader& in, const char* what, uint64_t low, uint64_t high, size_t& to) {
  KVS_ASSIGN(const uint64_t value, in.get_varint());
  if (value < low || value > high) {
    return format_error(fmt::format("{} = {}; legal: {} ... {}", what, value, low, high));
  }
  to = size_t(value);
  return {};
}

SavedCacheInfo::Layer layer_of(const LiveForm& form, size_t layer, size_t groups) {
  const FoldedUnit &keys = form.unit(Kind::key, layer), &values = form.unit(Kind::value, layer);
  return {keys.width(), values.width(), keys.group_bytes, values.group_bytes, groups};
}

SavedCacheInfo info_of(const LiveForm& form, std::span<const LayerCache> layers, size_t tokens) {
  SavedCacheInfo info;
  info.codec = form.codec();
  info.model = form.shape().fingerprint;
  info.model_name = form.shape().model_name;
  info.architecture = form.shape().architecture;
  info.options = layers[0].options();
  info.groups = layers[0].coded() / kGroup;
  info.exact = layers[0].count() - layers[0].coded();
  info.waiting = tokens - layers[0].count();
  for (size_t l = 0; l < layers.size(); ++l) {
    info.layers.push_back(layer_of(form, l, layers[l].groups()));
  }
  return info;
}

Bytes write_header(const SavedCacheInfo& info) {
  ByteWriter fields;
  for (const auto* text : {&info.codec, &info.model, &info.model_name, &info.architecture}) {
    fields.put_string(*text);
  }
  for (const size_t n : {info.options.sinks, info.options.window, info.groups, info.exact,
                         info.waiting, info.layers.size()}) {
    fields.put_varint(n);
  }
  for (const SavedCacheInfo::Layer& l : info.layers) {
    for (const size_t n :
         {l.key_width, l.value_width, l.key_group_bytes, l.value_group_bytes, l.groups}) {
      fields.put_varint(n);
    }
  }
  ByteWriter header;
  header.put_bytes(kMagic);
  header.put(kFormat);
  header.put(kFormat);
  header.put(uint32_t(kStart + fields.size() + kChecksum));
  header.put_bytes(fields.bytes());
  seal(header);
  return header.take();
}

Result<size_t> header_length(ByteSpan start) {
  if (!SavedCache::begins(start)) return format_error("not a saved live cache");
  ByteReader in(start.subspan(kMagic.size()));
  KVS_TRY(in.get<uint16_t>());
  KVS_ASSIGN(const auto oldest, in.get<uint16_t>());
  KVS_ASSIGN(const auto length, in.get<uint32_t>());
  if (oldest != kFormat) {
    return Error{
        ErrorKind::unsupported,
        fmt::format("a saved live cache of format {}; format {} is read here", oldest, kFormat)};
  }
  if (length < kStart + kChecksum || length > limits::kSessionHeader) {
    return format_error(fmt::format("header of {} bytes; legal: {} ... {}", length,
                                    kStart + kChecksum, limits::kSessionHeader));
  }
  return size_t(length);
}

Result<SavedCacheInfo::Layer> parse_layer(ByteReader& in, size_t groups) {
  constexpr uint64_t kMostGroupBytes = uint64_t{limits::kLayerWidth} * kGroup;
  SavedCacheInfo::Layer layer;
  KVS_TRY(get_number(in, "width of keys", 1, limits::kLayerWidth, layer.key_width));
  KVS_TRY(get_number(in, "width of values", 1, limits::kLayerWidth, layer.value_width));
  KVS_TRY(get_number(in, "bytes of keys", 0, kMostGroupBytes, layer.key_group_bytes));
  KVS_TRY(get_number(in, "bytes of values", 0, kMostGroupBytes, layer.value_group_bytes));
  KVS_TRY(get_number(in, "groups of a layer", 0, groups, layer.groups));
  return layer;
}

Result<SavedCacheInfo> parse_fields(ByteReader in) {
  SavedCacheInfo info;
  for (auto* text : {&info.codec, &info.model, &info.model_name, &info.architecture}) {
    KVS_ASSIGN(*text, in.get_string(limits::kString));
  }
  size_t layers = 0;
  KVS_TRY(get_number(in, "sinks", 0, limits::kTokens, info.options.sinks));
  KVS_TRY(get_number(in, "window", 0, limits::kTokens, info.options.window));
  KVS_TRY(get_number(in, "groups", 0, limits::kTokens / kGroup, info.groups));
  KVS_TRY(get_number(in, "tokens that are not coded", 0, limits::kTokens, info.exact));
  KVS_TRY(get_number(in, "waiting tokens", 0, limits::kTokens, info.waiting));
  KVS_TRY(get_number(in, "layers", 1, limits::kLayers, layers));
  // No group is coded before there are as many others.
  if (info.groups > 0 && info.exact < info.options.sinks + info.options.window) {
    return format_error(fmt::format("{} tokens are not coded; sinks and window are {}", info.exact,
                                    info.options.sinks + info.options.window));
  }
  for (size_t l = 0; l < layers; ++l) {
    KVS_ASSIGN(const auto layer, parse_layer(in, info.groups));
    info.layers.push_back(layer);
  }
  return info;
}

// Blocks hold their tokens in the order in which they came.
Result<> check_order(std::span<const uint8_t> order) {
  std::array<bool, kGroup> there{};
  for (size_t i = 0; i < kGroup; ++i) {
    const bool rises = i % plane_kernel::kRows == 0 || order[i - 1] < order[i];
    if (!rises || there[order[i]]) return format_error("the order of a group's tokens is none");
    there[order[i]] = true;
  }
  return {};
}

Result<Bytes> read_group(ByteReader& in, size_t bytes) {
  KVS_ASSIGN(const ByteSpan from, in.take(bytes));
  Bytes group(bytes + plane_kernel::kReadable);
  std::copy(from.begin(), from.end(), group.begin());
  return group;
}

Result<std::vector<uint16_t>> read_rows(ByteReader& in, size_t rows, size_t width) {
  KVS_ASSIGN(auto halves, in.get_array<uint16_t>(rows * width));
  const auto bad = std::find_if_not(halves.begin(), halves.end(), is_finite_half);
  if (bad == halves.end()) return halves;
  return Error{ErrorKind::numeric, fmt::format("row {} of the tokens that are not coded is not "
                                               "finite",
                                               size_t(bad - halves.begin()) / width)};
}

Result<std::vector<float>> read_attention(ByteReader& in, size_t rows) {
  KVS_ASSIGN(auto attention, in.get_array<float>(rows));
  for (const float a : attention) {
    if (!(a >= 0 && std::isfinite(a))) {
      return Error{ErrorKind::numeric, fmt::format("a token got attention of {}", a)};
    }
  }
  return attention;
}

}  // namespace

void LayerCache::write(ByteWriter& to) const {
  for (const Group& g : groups_) {
    to.put_bytes(g.order);
    for (Kind kind : {Kind::key, Kind::value}) {
      to.put_bytes({g.of(kind), unit(kind).group_bytes});
    }
  }
  to.put_array(std::span<const uint16_t>(keys_));
  to.put_array(std::span<const uint16_t>(values_));
  to.put_array(std::span<const float>(attention_));
}

Result<> LayerCache::read(ByteReader& from, size_t groups, size_t coded, size_t exact) {
  count_ = coded + exact;
  coded_ = coded;
  const size_t first = first_exact() - groups * kGroup;
  if (groups * kGroup < coded && first > shape().first_seen(count_)) {
    return format_error(fmt::format("it begins with token {}, and the next one sees {}", first,
                                    shape().first_seen(count_)));
  }
  for (size_t i = 0; i < groups; ++i) {
    Group group;
    group.start = first + i * kGroup;
    KVS_ASSIGN(const ByteSpan order, from.take(kGroup));
    KVS_TRY(check_order(order));
    std::copy(order.begin(), order.end(), group.order.begin());
    KVS_ASSIGN(group.keys, read_group(from, unit(Kind::key).group_bytes));
    KVS_ASSIGN(group.values, read_group(from, unit(Kind::value).group_bytes));
    groups_.push_back(std::move(group));
  }
  KVS_ASSIGN(keys_, read_rows(from, exact, unit(Kind::key).width()));
  KVS_ASSIGN(values_, read_rows(from, exact, unit(Kind::value).width()));
  KVS_ASSIGN(attention_, read_attention(from, exact));
  return {};
}

uint64_t SavedCacheInfo::layer_bytes(size_t layer) const {
  const Layer& l = layers[layer];
  const uint64_t group = kGroup + l.key_group_bytes + l.value_group_bytes;
  const uint64_t row = sizeof(uint16_t) * (l.key_width + l.value_width) + sizeof(float);
  return l.groups * group + exact * row;
}

bool SavedCache::begins(ByteSpan start) {
  return start.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), start.begin());
}

Result<SavedCache> SavedCache::open(const std::string& path) {
  KVS_ASSIGN(auto source, file_source(path));
  return open(std::move(source), path);
}

Result<SavedCache> SavedCache::open(std::shared_ptr<const ByteSource> source, std::string name) {
  SavedCache saved(std::move(source), std::move(name));
  const auto loaded = saved.load();
  if (!loaded.ok()) return within(saved.name_, loaded.error());
  return saved;
}

// The size follows from the header, so that no part can claim more than there is.
Result<> SavedCache::load() {
  KVS_ASSIGN(const Bytes start,
             read_bytes(*source_, 0, std::min<uint64_t>(source_->size(), kStart)));
  if (start.size() < kStart) return format_error("not a saved live cache");
  KVS_ASSIGN(header_bytes_, header_length(start));
  KVS_ASSIGN(const Bytes header, read_bytes(*source_, 0, header_bytes_));
  KVS_ASSIGN(const ByteSpan content, opened(header, "the header"));
  KVS_ASSIGN(info_, parse_fields(ByteReader(content.subspan(kStart))));
  const uint64_t wanted = offset_of_layer(info_.layers.size());
  if (wanted == source_->size()) return {};
  return format_error(fmt::format("{} bytes; by its header it has {}", source_->size(), wanted));
}

uint64_t SavedCache::offset_of_layer(size_t layer) const {
  uint64_t offset = header_bytes_ + tokens_bytes() + kChecksum;
  for (size_t l = 0; l < layer; ++l) offset += info_.layer_bytes(l) + kChecksum;
  return offset;
}

Result<Bytes> SavedCache::part(uint64_t offset, uint64_t bytes, const std::string& what) const {
  return within_memory([&]() -> Result<Bytes> {
    KVS_ASSIGN(Bytes part, read_bytes(*source_, offset, size_t(bytes) + kChecksum));
    const auto content = opened(part, what);
    if (!content.ok()) return within(name_, content.error());
    part.resize(size_t(bytes));
    return part;
  });
}

Result<> SavedCache::check_form(const LiveForm& form) const {
  if (info_.model != form.shape().fingerprint) {
    return Error{ErrorKind::mismatch, fmt::format("{} was made with model {}, not {}", name_,
                                                  info_.model_name, form.shape().model_name)};
  }
  if (info_.codec != form.codec()) {
    return Error{ErrorKind::mismatch, fmt::format("{} was made with the live codec {}, not {}",
                                                  name_, info_.codec, form.codec())};
  }
  bool same = info_.layers.size() == form.shape().layers.size();
  for (size_t l = 0; same && l < info_.layers.size(); ++l) {
    same = info_.layers[l] == layer_of(form, l, info_.layers[l].groups);
  }
  if (same) return {};
  return within(name_, format_error("its layers are not those of its codec"));
}

Result<std::vector<int32_t>> SavedCache::tokens() const {
  KVS_ASSIGN(const Bytes bytes, part(header_bytes_, tokens_bytes(), "the list of tokens"));
  return ByteReader(bytes).get_array<int32_t>(info_.cells() + info_.waiting);
}

Result<std::vector<LayerCache>> SavedCache::layers(const LiveForm& form) const {
  KVS_TRY(check_form(form));
  return within_memory([&]() -> Result<std::vector<LayerCache>> {
    std::vector<LayerCache> layers;
    for (size_t l = 0; l < info_.layers.size(); ++l) {
      const std::string what = fmt::format("layer {}", l);
      KVS_ASSIGN(const Bytes bytes, part(offset_of_layer(l), info_.layer_bytes(l), what));
      ByteReader in(bytes);
      layers.emplace_back(form, l, info_.options);
      const auto read =
          layers.back().read(in, info_.layers[l].groups, info_.groups * kGroup, info_.exact);
      if (!read.ok()) return within(name_ + ": " + what, read.error());
    }
    return layers;
  });
}

Result<> SavedCache::check() const {
  KVS_TRY(tokens());
  for (size_t l = 0; l < info_.layers.size(); ++l) {
    KVS_TRY(part(offset_of_layer(l), info_.layer_bytes(l), fmt::format("layer {}", l)));
  }
  return {};
}

Result<> save_cache(OutputFile out, const LiveForm& form, std::span<const LayerCache> layers,
                    std::span<const int32_t> tokens) {
  return within_memory([&]() -> Result<> {
    const SavedCacheInfo info = info_of(form, layers, tokens.size());
    DiskFile file = DiskFile::replace(std::move(out));
    const auto add = [&](const Bytes& part) { return file.write(file.size(), part); };
    KVS_TRY(add(write_header(info)));
    ByteWriter list;
    list.put_array(tokens);
    seal(list);
    KVS_TRY(add(list.bytes()));
    for (size_t l = 0; l < layers.size(); ++l) {
      ByteWriter layer;
      layer.reserve(size_t(info.layer_bytes(l)) + kChecksum);
      layers[l].write(layer);
      seal(layer);
      KVS_TRY(add(layer.bytes()));
    }
    return file.publish();
  });
}

}  // namespace kvsplice::live
