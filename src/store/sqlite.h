// The little of SQLite that the index needs, with errors as values.
#pragma once

#include <sqlite3.h>

#include <map>
#include <memory>
#include <string>

#include "store/hash.h"

namespace kvsplice::store {

class Statement;

// One connection. Not for several threads at once.
class Database {
 public:
  enum class Mode { existing, make };
  // Waits for other connections instead of failing.
  static Result<Database> open(const std::string& path, Mode mode);

  Result<> run(const char* sql);  // one or more statements whose rows nobody wants
  // Prepared once and kept.
  Result<Statement> prepare(const std::string& sql);
  // Error format if it is the file that is at fault, io otherwise.
  Error error(int code) const;

 private:
  template <auto close>
  struct Close {
    template <class T>
    void operator()(T* t) const {
      close(t);
    }
  };

  std::string path_;
  std::unique_ptr<sqlite3, Close<sqlite3_close_v2>> db_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Close<sqlite3_finalize>>> statements_;
};

// One use of a statement: values in, in the order of the question marks, then rows out. When it
// goes, the database is free for others.
class Statement {
 public:
  Statement(const Database& database, sqlite3_stmt* prepared)
      : database_(database), statement_(prepared) {}
  Statement(Statement&& other) noexcept
      : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}
  ~Statement();

  Statement& with(uint64_t number);  // at most INT64_MAX
  Statement& with(const Hash& hash);
  Result<bool> step();  // whether there is a row
  Result<> run();       // to the end
  uint64_t number(int column) const;
  Result<Hash> hash(int column) const;

 private:
  const Database& database_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
};

}  // namespace kvsplice::store
