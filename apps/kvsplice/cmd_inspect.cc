// kvsplice inspect: what is in a session, a llama.cpp state, one of our GGUF files or a model.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "archive.h"
#include "codec/codec.h"
#include "command.h"
#include "core/file.h"
#include "extract/dump.h"
#include "gguf/gguf_kind.h"
#include "host/state_blob.h"
#include "report/table.h"

namespace kvsplice::app {

namespace {

struct InspectArguments {
  std::string file;
  bool json = false, check = false;
};

void show(const report::Table& table, bool json) {
  fmt::print("{}\n", json ? table.json() : table.text());
}

// Reads every record, so that damage is found.
Result<> check_records(const session::SessionReader& reader) {
  for (const auto& record : reader.index().records) KVS_TRY(reader.read(record));
  for (const size_t position : reader.state_positions()) KVS_TRY(reader.read_state(position));
  return {};
}

Result<> inspect_session(const InspectArguments& a) {
  KVS_ASSIGN(const auto reader, session::SessionReader::open(a.file));
  const session::SessionInfo& info = reader.info();
  report::Table table("records", "Records",
                      {{"kind"}, {"first"}, {"tokens"}, {"bytes"}, {"bits_per_value", 3}});
  double values = 0;
  for (const LayerShape& l : info.layers) values += l.width(Kind::key) + l.width(Kind::value);
  for (const session::Record& r : reader.index().records) {
    const auto bytes = static_cast<int64_t>(r.end() - r.offset);
    table.add({std::string(name(r.kind)), int64_t(r.first), int64_t(r.count), bytes,
               8.0 * double(bytes) / (values * double(r.count))});
  }
  for (const session::StoredState& s : reader.index().states) {
    const auto bytes = static_cast<int64_t>(s.record.end() - s.record.offset);
    table.add({std::string(name(s.record.kind)), int64_t(s.record.first), int64_t(0), bytes,
               report::Cell()});
  }
  if (a.json) {
    show(table, true);
  } else {
    fmt::print("{}: session, {}\n", a.file, describe_size(reader));
    fmt::print("model {} ({}, {}), {} layers\n", info.model_name, info.architecture, info.model,
               info.layers.size());
    fmt::print("{}\n", info.lossless() ? std::string("lossless")
                                       : fmt::format("codec {}: {}", info.codec, info.pipeline));
    fmt::print("sinks {}, window {}, blocks of {}; {} pending tokens; {} dead bytes, {} ignored\n",
               info.sinks, info.window, info.block_tokens, reader.index().pending.size(),
               reader.end() - reader.live_bytes(), reader.ignored_bytes());
    show(table, false);
  }
  if (!a.check) return {};
  KVS_TRY(check_records(reader));
  if (!a.json) fmt::print("every record is sound\n");
  return {};
}

Result<> inspect_live(const InspectArguments& a) {
  KVS_ASSIGN(const auto saved, live::SavedCache::open(a.file));
  const live::SavedCacheInfo& info = saved.info();
  report::Table table("layers", "Layers",
                      {{"layer"}, {"key_width"}, {"value_width"}, {"bytes"}, {"coded_bits", 3}});
  for (size_t l = 0; l < info.layers.size(); ++l) {
    const auto& layer = info.layers[l];
    const size_t group = live::kGroup + layer.key_group_bytes + layer.value_group_bytes;
    table.add({int64_t(l), int64_t(layer.key_width), int64_t(layer.value_width),
               int64_t(info.layer_bytes(l)),
               8.0 * double(group) / double(live::kGroup * (layer.key_width + layer.value_width))});
  }
  if (!a.json) {
    fmt::print("{}: session of a live cache, {}\n", a.file, describe_size(saved));
    fmt::print("model {} ({}, {}); live codec {}\n", info.model_name, info.architecture, info.model,
               info.codec);
    fmt::print("sinks {}, window {}; {} tokens are coded, {} are not; {} pending tokens\n",
               info.options.sinks, info.options.window, info.groups * live::kGroup, info.exact,
               info.waiting);
  }
  show(table, a.json);
  if (!a.check) return {};
  KVS_TRY(saved.check());
  if (!a.json) fmt::print("every part is sound\n");
  return {};
}

std::string describe(const host::StateBlob& blob) {
  const bool session_file = blob.form == host::StateForm::session_file;
  std::string text = name(blob.form);
  if (blob.form != host::StateForm::sequence_data) {
    text += fmt::format(", version {}, {} tokens",
                        session_file ? blob.version.session : blob.version.sequence,
                        blob.tokens.size());
  }
  if (session_file) text += ", architecture " + blob.architecture;
  if (blob.streams > 1) text += fmt::format(", {} streams", blob.streams);
  if (blob.recurrent) {
    text += fmt::format(", recurrent state of {} bytes behind token {}", blob.recurrent->bytes(),
                        blob.recurrent->position);
  }
  if (blob.bytes_behind > 0) text += fmt::format(", {} bytes behind it", blob.bytes_behind);
  return text;
}

Result<> inspect_state(const InspectArguments& a, ByteSpan bytes) {
  KVS_ASSIGN(const host::StateBlob blob, host::parse_state(bytes));
  report::Table table("caches", "Caches",
                      {{"cache"},
                       {"cells"},
                       {"layers"},
                       {"key_type"},
                       {"key_row_bytes"},
                       {"value_type"},
                       {"value_row_bytes"}});
  for (size_t i = 0; i < blob.caches.size(); ++i) {
    const host::StateCache& c = blob.caches[i];
    const host::StateRows none;
    const auto& key = c.keys.empty() ? none : c.keys[0];
    const auto& value = c.values.empty() ? none : c.values[0];
    table.add({int64_t(i), int64_t(c.cells()), int64_t(c.keys.size()),
               std::string(name(host::CellType(key.type))), int64_t(key.row_bytes),
               std::string(c.values.empty() ? "none" : name(host::CellType(value.type))),
               int64_t(value.row_bytes)});
  }
  if (!a.json) fmt::print("{}: llama.cpp {}\n", a.file, describe(blob));
  show(table, a.json);
  return {};
}

// The layers in runs of equal ones.
void add_layers(const ModelShape& shape, report::Table& table) {
  for (size_t l = 0, end = 0; l < shape.layers.size(); l = end) {
    const LayerShape& first = shape.layers[l];
    const auto like_first = [&](const LayerShape& other) {
      return other.kv_heads == first.kv_heads && other.key_dim == first.key_dim &&
             other.value_dim == first.value_dim && other.window == first.window;
    };
    for (end = l; end < shape.layers.size() && like_first(shape.layers[end]);) ++end;
    table.add({int64_t(first.layer), int64_t(shape.layers[end - 1].layer), int64_t(first.kv_heads),
               int64_t(first.key_dim), int64_t(first.value_dim), int64_t(first.window)});
  }
}

Result<> inspect_model(const InspectArguments& a) {
  const auto model = host::Model::load(a.file);
  if (!model.ok()) return Error{model.error().kind, "a model, but: " + model.error().message};
  const ModelShape& shape = model->shape();
  report::Table table("layers", "Layers",
                      {{"first"}, {"last"}, {"kv_heads"}, {"key_dim"}, {"value_dim"}, {"window"}});
  add_layers(shape, table);
  if (!a.json) {
    fmt::print("{}: model {} ({}, {}); KVSplice handles it\n", a.file, shape.model_name,
               shape.architecture, shape.fingerprint);
    fmt::print(
        "{} layers with a cache, {} query heads; {} bytes of f16 cells a token; context {}, "
        "vocabulary {} tokens\n",
        shape.layers.size(), shape.query_heads, shape.f16_bytes_per_token(), model->context_limit(),
        shape.vocabulary);
    const auto live = model->check_live_cache();
    fmt::print("live cache: {}\n", live.ok() ? "possible" : live.error().message);
    if (shape.hybrid()) {
      fmt::print("hybrid: {} recurrent layers, which carry {} bytes of state\n",
                 shape.recurrent.size(), shape.recurrent_bytes());
    }
  }
  show(table, a.json);
  return {};
}

Result<> inspect_codec(const InspectArguments& a) {
  KVS_ASSIGN(const auto codec, codec::Codec::load(a.file));
  report::Table table("stages", "Stages", {{"kind"}, {"stage"}, {"bytes"}});
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t s = 0; s < codec.text().of(kind).size(); ++s) {
      int64_t bytes = 0;
      for (const auto& unit : codec.units()) {
        if (unit.unit().kind != kind) continue;
        for (const auto& [array, values] : unit.stages()[s]->save()) {
          bytes += static_cast<int64_t>(values.values.size() * bytes_of(values.storage));
        }
      }
      table.add({std::string(name(kind)), codec.text().of(kind)[s].name, bytes});
    }
  }
  if (!a.json) {
    fmt::print("{}: codec {}\n{}\n", a.file, codec.fingerprint(), codec::print(codec.text()));
    fmt::print("model {} ({}, {}); fitted on {} tokens; {:.3f} MB of state\n",
               codec.shape().model_name, codec.shape().architecture, codec.shape().fingerprint,
               codec.calibration_tokens(), double(codec.state_bytes()) / 1e6);
  }
  show(table, a.json);
  return {};
}

Result<> inspect_dump(const InspectArguments& a) {
  KVS_ASSIGN(const auto dump, extract::Dump::open(a.file));
  report::Table table("texts", "Texts", {{"text"}, {"tokens"}, {"hash"}});
  for (const auto& text : dump.info().texts) {
    table.add({text.name, int64_t(text.tokens), text.hash});
  }
  if (!a.json) {
    fmt::print("{}: dump of {} tokens, {} layers, {} heads, model {}\n", a.file,
               dump.info().tokens(), dump.info().layers.size(), dump.info().heads.size(),
               dump.info().shape.model_name);
  }
  show(table, a.json);
  return {};
}

// Ours say what they are; the other GGUF files are models.
Result<> inspect_gguf(const InspectArguments& a) {
  KVS_ASSIGN(const std::string kind, gguf::kind_of_gguf(a.file));
  if (kind.empty()) return inspect_model(a);
  return kind == "codec" ? inspect_codec(a) : inspect_dump(a);
}

Result<> inspect(const InspectArguments& a) {
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(a.file,
                                        unknown)) {  // a pipe can only be read once: a state
    KVS_ASSIGN(const Bytes bytes, read_file(a.file));
    return inspect_state(a, bytes);
  }
  KVS_ASSIGN(const auto file, DiskFile::open(a.file));
  KVS_ASSIGN(const Bytes start, file.read(0, std::min<uint64_t>(file.size(), 16)));
  if (session::header_length(start).ok()) return inspect_session(a);
  if (live::SavedCache::begins(start)) return inspect_live(a);
  if (a.check) return Error{ErrorKind::usage, "--check is for sessions; this is none"};
  const std::string_view gguf = "GGUF";
  if (start.size() >= 4 && std::equal(gguf.begin(), gguf.end(), start.begin())) {
    return inspect_gguf(a);
  }
  KVS_ASSIGN(const Bytes bytes, read_file(a.file));
  return inspect_state(a, bytes);
}

Result<> run(const InspectArguments& a) {
  const auto done = inspect(a);
  if (done.ok() || done.error().message.find(a.file) != std::string::npos) return done;
  return Error{done.error().kind, a.file + ": " + done.error().message};
}

}  // namespace

Command inspect_command();

Command inspect_command() {
  return {"inspect", "tell what is in a session, a llama.cpp state, a codec, a dump or a model",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<InspectArguments>();
            app.add_option("file", a->file, "file to look into")->required();
            app.add_flag("--json", a->json, "print the table as JSON");
            app.add_flag("--check", a->check, "read every record of a session");
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
