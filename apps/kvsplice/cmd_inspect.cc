// kvsplice inspect: what is in a session, a llama.cpp state or one of our GGUF files.
#include <fmt/format.h>

#include <algorithm>

#include "codec/codec.h"
#include "command.h"
#include "core/file.h"
#include "extract/dump.h"
#include "loaded_coder.h"
#include "report/table.h"
#include "session/state_blob.h"

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

Result<> inspect_state(const InspectArguments& a, ByteSpan bytes) {
  KVS_ASSIGN(const session::StateBlob blob, session::parse_state(bytes));
  report::Table table("caches", "Caches",
                      {{"cache"},
                       {"cells"},
                       {"layers"},
                       {"key_type"},
                       {"key_row_bytes"},
                       {"value_type"},
                       {"value_row_bytes"}});
  for (size_t i = 0; i < blob.caches.size(); ++i) {
    const session::StateCache& c = blob.caches[i];
    const session::StateRows none;
    const auto& key = c.keys.empty() ? none : c.keys[0];
    const auto& value = c.values.empty() ? none : c.values[0];
    table.add({int64_t(i), int64_t(c.cells()), int64_t(c.keys.size()),
               std::string(name(session::CellType(key.type))), int64_t(key.row_bytes),
               std::string(name(session::CellType(value.type))), int64_t(value.row_bytes)});
  }
  if (!a.json) {
    fmt::print("{}: llama.cpp {}, {} tokens{}\n", a.file, name(blob.form), blob.tokens.size(),
               blob.architecture.empty() ? "" : ", architecture " + blob.architecture);
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
        if (unit.unit.kind != kind) continue;
        for (const auto& [array, values] : unit.stages[s]->save()) {
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

Result<> inspect(const InspectArguments& a) {
  KVS_ASSIGN(const auto file, DiskFile::open(a.file));
  KVS_ASSIGN(const Bytes start, file.read(0, std::min<uint64_t>(file.size(), 16)));
  if (session::header_length(start).ok()) return inspect_session(a);
  const std::string_view gguf = "GGUF";
  if (start.size() >= 4 && std::equal(gguf.begin(), gguf.end(), start.begin())) {
    KVS_ASSIGN(const auto reader, host::GgufReader::open(a.file));
    KVS_ASSIGN(const std::string kind, reader.text("kvsplice.kind"));
    return kind == "codec" ? inspect_codec(a) : inspect_dump(a);
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
  return {"inspect", "tell what is in a session, a llama.cpp state, a codec or a dump",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<InspectArguments>();
            app.add_option("file", a->file, "file to look into")->required();
            app.add_flag("--json", a->json, "print the table as JSON");
            app.add_flag("--check", a->check, "read every record of a session");
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
