#include "store/index.h"

#include <fmt/format.h>

#include <filesystem>
#include <mutex>

#include "core/errors.h"
#include "core/os.h"
#include "store/sqlite.h"

namespace kvsplice::store {

namespace {

// "kvsi", and the version of the tables.
constexpr const char* kStamp = "PRAGMA application_id = 1802924905; PRAGMA user_version = 1;";
constexpr uint64_t kApplication = 1802924905, kVersion = 1;

constexpr const char* kTables = R"(
  CREATE TABLE objects (
    own BLOB PRIMARY KEY NOT NULL, root BLOB NOT NULL, parent BLOB NOT NULL, owner BLOB NOT NULL,
    kind INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    answered INTEGER NOT NULL, made INTEGER NOT NULL, bytes INTEGER NOT NULL,
    used INTEGER NOT NULL, pinned INTEGER NOT NULL);
  CREATE INDEX by_parent ON objects (parent, used);
  CREATE INDEX by_root ON objects (root, first);
  CREATE INDEX by_use ON objects (answered DESC, used, first DESC);
)";

constexpr const char* kColumns =
    "own, root, parent, owner, kind, first, count, answered, made, bytes, used, pinned";

Result<Entry> entry_of(const Statement& row) {
  Entry entry;
  ObjectHead& head = entry.head;
  KVS_ASSIGN(head.own, row.hash(0));
  KVS_ASSIGN(head.root, row.hash(1));
  KVS_ASSIGN(head.parent, row.hash(2));
  KVS_ASSIGN(head.owner, row.hash(3));
  head.kind = row.number(4) == uint64_t(ObjectKind::tail) ? ObjectKind::tail : ObjectKind::block;
  head.first = row.number(5);
  head.count = static_cast<uint32_t>(row.number(6));
  head.answered = row.number(7) != 0;
  head.made = row.number(8);
  entry.bytes = row.number(9);
  entry.used = row.number(10);
  entry.pinned = row.number(11) != 0;
  return entry;
}

Result<std::vector<Entry>> entries_of(Statement rows) {
  std::vector<Entry> entries;
  for (;;) {
    KVS_ASSIGN(const bool more, rows.step());
    if (!more) return entries;
    KVS_ASSIGN(entries.emplace_back(), entry_of(rows));
  }
}

Result<> add_to(Database& database, const Entry& entry) {
  static const std::string sql =
      fmt::format("INSERT OR REPLACE INTO objects ({}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", kColumns);
  KVS_ASSIGN(Statement insert, database.prepare(sql));
  const ObjectHead& head = entry.head;
  for (const Hash& hash : {head.own, head.root, head.parent, head.owner}) insert.with(hash);
  insert.with(uint64_t(head.kind)).with(head.first).with(head.count).with(head.answered);
  return insert.with(head.made).with(entry.bytes).with(entry.used).with(entry.pinned).run();
}

Result<Totals> totals_by(Statement sums) {
  KVS_TRY(sums.step());
  return Totals{sums.number(0), sums.number(1), sums.number(2), sums.number(3), sums.number(4)};
}

Result<uint64_t> number_of(Database& database, const char* sql) {
  KVS_ASSIGN(Statement row, database.prepare(sql));
  KVS_TRY(row.step());
  return row.number(0);
}

// Reads all of it: an index is small beside the objects.
Result<> check(Database& database, const std::string& path) {
  KVS_ASSIGN(const uint64_t application, number_of(database, "PRAGMA application_id"));
  KVS_ASSIGN(const uint64_t version, number_of(database, "PRAGMA user_version"));
  if (application != kApplication || version != kVersion) {
    return format_error(fmt::format("{} is no index of version {}", path, kVersion));
  }
  KVS_ASSIGN(const uint64_t faults, number_of(database,
                                              "SELECT count(*) FROM pragma_quick_check(1) "
                                              "WHERE quick_check != 'ok'"));
  return faults == 0 ? Result<>() : format_error(path + " is damaged");
}

void remove_with_its_log(const std::string& path) {
  std::error_code ignored;
  for (const char* end : {"-wal", "-shm", "-journal", ""}) {
    std::filesystem::remove(path + end, ignored);
  }
}

// As nobody else sees it yet, and a crash of the system would be seen, nothing is waited for.
Result<> write_new(const std::string& path, const std::vector<Entry>& entries) {
  KVS_ASSIGN(Database database, Database::open(path, Database::Mode::make));
  KVS_TRY(database.run("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN"));
  KVS_TRY(database.run(kTables));
  for (const Entry& entry : entries) KVS_TRY(add_to(database, entry));
  KVS_TRY(database.run(kStamp));
  KVS_TRY(database.run("COMMIT"));
  std::error_code failed;
  std::filesystem::permissions(
      path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, failed);
  return failed ? Error{ErrorKind::io, path + ": " + failed.message()} : Result<>();
}

}  // namespace

struct Index::Impl {
  std::string path;
  os::FileState file;
  Database database;
  mutable std::mutex turn;
};

Index::Index(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;
Index::~Index() = default;

Result<Index> Index::open(const std::string& path) {
  const auto file = os::state_at(path);
  if (!file) return format_error(path + ": there is no index");
  KVS_ASSIGN(Database database, Database::open(path, Database::Mode::existing));
  KVS_TRY(check(database, path));
  // What a crash of the system takes from it is found again, as files that it does not know.
  KVS_TRY(database.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"));
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = *file;
  impl->database = std::move(database);
  return Index(std::move(impl));
}

Result<Index> Index::make(const std::string& path, const std::vector<Entry>& entries) {
  const std::string made = path + ".new";
  remove_with_its_log(made);
  KVS_TRY(write_new(made, entries));
  remove_with_its_log(path);  // an old log would be taken for one of the new file
  std::error_code failed;
  std::filesystem::rename(made, path, failed);
  if (failed) {
    return Error{ErrorKind::io, fmt::format("cannot make {}: {}", path, failed.message())};
  }
  return open(path);
}

bool Index::is_in_place() const {
  const auto now = os::state_at(impl_->path);
  return now && now->is_same_file(impl_->file);
}

Result<> Index::add(const Entry& entry) {
  const std::lock_guard lock(impl_->turn);
  return add_to(impl_->database, entry);
}

Result<> Index::remove(const Hash& own) {
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement remove, impl_->database.prepare("DELETE FROM objects WHERE own = ?"));
  return remove.with(own).run();
}

Result<std::optional<Entry>> Index::find(const Hash& own) const {
  static const std::string sql = fmt::format("SELECT {} FROM objects WHERE own = ?", kColumns);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement row, impl_->database.prepare(sql));
  KVS_ASSIGN(const bool found, row.with(own).step());
  if (!found) return std::optional<Entry>();
  KVS_ASSIGN(Entry entry, entry_of(row));
  return std::optional(std::move(entry));
}

Result<std::vector<Entry>> Index::children(const Hash& parent, size_t most) const {
  static const std::string sql =
      fmt::format("SELECT {} FROM objects WHERE parent = ? ORDER BY used DESC LIMIT ?", kColumns);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement rows, impl_->database.prepare(sql));
  rows.with(parent).with(most);
  return entries_of(std::move(rows));
}

Result<std::vector<Entry>> Index::all() const {
  static const std::string sql =
      fmt::format("SELECT {} FROM objects ORDER BY root, first, used", kColumns);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement rows, impl_->database.prepare(sql));
  return entries_of(std::move(rows));
}

// UNION leaves out what has been met, so that a circle, which damaged heads could claim, ends.
Result<> Index::touch(const Hash& own, uint64_t now) {
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement update,
             impl_->database.prepare(
                 "WITH RECURSIVE line(own) AS (VALUES (?) UNION "
                 "SELECT o.parent FROM objects o JOIN line ON o.own = line.own) "
                 "UPDATE objects SET used = max(used, ?) WHERE own IN (SELECT own FROM line)"));
  return update.with(own).with(now).run();
}

Result<> Index::pin(const Hash& own, bool pinned) {
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement update,
             impl_->database.prepare("UPDATE objects SET pinned = ? WHERE own = ?"));
  return update.with(pinned).with(own).run();
}

// Of those used in the same second the one that lies furthest behind comes first.
Result<std::vector<Entry>> Index::leaves(size_t most) const {
  static const std::string sql = fmt::format(
      "SELECT {} FROM objects AS o WHERE pinned = 0 AND NOT EXISTS "
      "(SELECT 1 FROM objects WHERE parent = o.own) "
      "ORDER BY answered DESC, used, first DESC LIMIT ?",
      kColumns);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement rows, impl_->database.prepare(sql));
  rows.with(most);
  return entries_of(std::move(rows));
}

namespace {

constexpr const char* kSums = "count(*), sum(kind = 2), sum(bytes), sum(count), sum(pinned)";

}  // namespace

Result<Totals> Index::totals() const {
  static const std::string sql = fmt::format("SELECT {} FROM objects", kSums);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement sums, impl_->database.prepare(sql));
  return totals_by(std::move(sums));
}

Result<Totals> Index::totals_of(const Hash& root) const {
  static const std::string sql = fmt::format("SELECT {} FROM objects WHERE root = ?", kSums);
  const std::lock_guard lock(impl_->turn);
  KVS_ASSIGN(Statement sums, impl_->database.prepare(sql));
  sums.with(root);
  return totals_by(std::move(sums));
}

}  // namespace kvsplice::store
