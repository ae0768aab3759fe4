#include "store/sqlite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace kvsplice::store {

namespace {

constexpr int kMostWait = 20000;  // milliseconds

// SQLITE_ERROR: the statement does not fit the tables, which are another program's then.
bool is_fault_of_file(int code) {
  const int kind = code & 0xff;
  return kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB || kind == SQLITE_ERROR ||
         kind == SQLITE_SCHEMA || kind == SQLITE_CONSTRAINT || code == SQLITE_IOERR_SHORT_READ;
}

}  // namespace

Result<Database> Database::open(const std::string& path, Mode mode) {
  Database database;
  database.path_ = path;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (mode == Mode::make ? SQLITE_OPEN_CREATE : 0);
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &opened, flags, nullptr);
  database.db_.reset(opened);  // even if it failed
  if (code != SQLITE_OK) return database.error(code);
  sqlite3_busy_timeout(opened, kMostWait);
  return database;
}

Error Database::error(int code) const {
  const char* why = sqlite3_errstr(code);
  if (code == SQLITE_NOMEM) return {ErrorKind::memory, "out of memory"};
  const ErrorKind kind = is_fault_of_file(code) ? ErrorKind::format : ErrorKind::io;
  std::string message = fmt::format("{}: {}", path_, db_ ? sqlite3_errmsg(db_.get()) : why);
  // "disk I/O error" may be a full disk.
  const int system = db_ ? sqlite3_system_errno(db_.get()) : 0;
  if (kind == ErrorKind::io && system != 0) message += fmt::format(": {}", std::strerror(system));
  return {kind, std::move(message)};
}

Result<> Database::run(const char* sql) {
  const int code = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Result<>() : error(code);
}

Result<Statement> Database::prepare(const std::string& sql) {
  auto& kept = statements_[sql];
  if (!kept) {
    sqlite3_stmt* made = nullptr;
    const int code =
        sqlite3_prepare_v3(db_.get(), sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &made, nullptr);
    if (code != SQLITE_OK) return error(code);
    kept.reset(made);
  }
  return Statement(*this, kept.get());
}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Statement& Statement::with(uint64_t number) {
  const auto most = static_cast<uint64_t>(INT64_MAX);
  sqlite3_bind_int64(statement_, ++bound_, static_cast<sqlite3_int64>(std::min(number, most)));
  return *this;
}

Statement& Statement::with(const Hash& hash) {
  sqlite3_bind_blob(statement_, ++bound_, hash.bytes.data(), int(hash.bytes.size()),
                    SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW || code == SQLITE_DONE) return code == SQLITE_ROW;
  return database_.error(code);
}

Result<> Statement::run() {
  for (bool more = true; more;) {
    KVS_ASSIGN(more, step());
  }
  return {};
}

uint64_t Statement::number(int column) const {
  return static_cast<uint64_t>(
      std::max<sqlite3_int64>(0, sqlite3_column_int64(statement_, column)));
}

Result<Hash> Statement::hash(int column) const {
  Hash hash;
  const void* bytes = sqlite3_column_blob(statement_, column);
  if (sqlite3_column_bytes(statement_, column) != int(hash.bytes.size()) || bytes == nullptr) {
    return database_.error(SQLITE_CORRUPT);
  }
  std::memcpy(hash.bytes.data(), bytes, hash.bytes.size());
  return hash;
}

}  // namespace kvsplice::store
