// kvsplice store: what is in a store of cells, and what shall go or stay.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>

#include "command.h"
#include "core/errors.h"
#include "core/quantities.h"
#include "store/remote/remote.h"
#include "store/store.h"
#include "store_folder.h"
#include "store_listing.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

using store::Entry;
using store::Hash;
using store::Store;

struct StoreArguments {
  std::string folder;
  std::string object, root, file;
  std::string cap, ttl, remote;
  std::optional<std::string> tenant;
  bool repair = false, all = false;
  Result<> (*chosen)(const StoreArguments&) = nullptr;
};

// Nothing is cut unless it is asked for: another program's limits are its own.
constexpr store::Limits kNoLimits = {UINT64_MAX, 0};

Result<Store> open_store(const StoreArguments& a, const store::Limits& limits = kNoLimits) {
  KVS_ASSIGN(const std::string folder, store_folder(a.folder));
  std::error_code unknown;
  if (std::filesystem::is_directory(std::filesystem::path(folder) / "objects", unknown)) {
    return Store::open(folder, limits);
  }
  return Error{ErrorKind::io, folder + " is no store: it has no folder 'objects'"};
}

std::string plural(uint64_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string describe(const store::Totals& totals) {
  return fmt::format("{} ({}, {} pinned), {}, {}", plural(totals.objects, "object"),
                     plural(totals.tails, "tail"), totals.pinned, plural(totals.tokens, "token"),
                     print_size(totals.bytes));
}

// --- names ---------------------------------------------------------------------------------------

Result<> check_digits(const std::string& digits, const char* what) {
  constexpr size_t kFewest = 6;
  const bool hexadecimal = digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (hexadecimal && digits.size() >= kFewest && digits.size() <= 64) return {};
  return usage_error(
      fmt::format("'{}' names no {}; legal: its first {} ... 64 hexadecimal digits, lower case",
                  digits, what, kFewest));
}

// The one of the names that begins so.
Result<Hash> find_name(std::vector<Hash> names, const std::string& digits, const char* what) {
  KVS_TRY(check_digits(digits, what));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<Hash> found;
  for (const Hash& name : names) {
    if (name.hex().starts_with(digits)) found.push_back(name);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) return usage_error(fmt::format("no {} begins with {}", what, digits));
  return usage_error(fmt::format("{} {}s begin with {}; give more digits, such as {}", found.size(),
                                 what, digits, found[0].hex().substr(0, 20)));
}

Result<Hash> find_object(const Store& store, const std::string& digits) {
  KVS_ASSIGN(const auto entries, store.entries());
  std::vector<Hash> names;
  for (const Entry& e : entries) names.push_back(e.head.own);
  return find_name(std::move(names), digits, "object");
}

Result<Hash> find_root(const Store& store, const std::string& digits) {
  KVS_ASSIGN(const auto entries, store.entries());
  std::vector<Hash> names;
  for (const Entry& e : entries) names.push_back(e.head.root);
  return find_name(std::move(names), digits, "root");
}

// --- looking -------------------------------------------------------------------------------------

Result<> list(const StoreArguments& a) {
  KVS_ASSIGN(const Store store, open_store(a));
  KVS_ASSIGN(const auto entries, store.entries());
  fmt::print("{}", list_objects(entries, static_cast<uint64_t>(std::time(nullptr))));
  return {};
}

void add(const Entry& entry, store::Totals& totals) {
  ++totals.objects;
  totals.tails += entry.head.kind == store::ObjectKind::tail;
  totals.bytes += entry.bytes;
  totals.tokens += entry.head.count;
  totals.pinned += entry.pinned;
}

Result<> tell_of_remote(const std::string& url) {
  constexpr std::chrono::seconds kMost{5};
  KVS_ASSIGN(const auto remote, store::open_remote(url));
  store::Patience patience(store::steady_now() + kMost, kMost);
  const auto count = remote->count(patience);
  if (!count.ok()) return within(remote->where(), count.error());
  fmt::print("remote {}: answers{}\n", remote->where(),
             *count ? ", " + plural(**count, "key") + " in its database" : "");
  return {};
}

Result<> tell(const StoreArguments& a) {
  KVS_ASSIGN(const Store store, open_store(a));
  KVS_ASSIGN(const auto entries, store.entries());
  store::Totals all;
  std::map<Hash, store::Totals> of_roots;
  for (const Entry& e : entries) {
    add(e, all);
    add(e, of_roots[e.head.root]);
  }
  fmt::print("{}: store, key {}\n{}\n", store.folder(), store.key().fingerprint(), describe(all));
  for (const auto& [root, its] : of_roots) {
    fmt::print("root {}: {}\n", short_name(root), describe(its));
  }
  return a.remote.empty() ? Result<>() : tell_of_remote(a.remote);
}

Result<> verify(const StoreArguments& a) {
  KVS_ASSIGN(const Store store, open_store(a));
  KVS_ASSIGN(const auto verified, store.verify(a.repair, terminal_progress()));
  end_progress();
  for (const std::string& damage : verified.damaged) fmt::print("{}\n", damage);
  const size_t damaged = verified.damaged.size();
  fmt::print("{} sound, {} damaged{}\n", plural(verified.sound, "object"), damaged,
             a.repair && damaged > 0 ? " and removed" : "");
  if (damaged == 0 || a.repair) return {};
  return format_error(fmt::format("{}: {} damaged; --repair removes what is", store.folder(),
                                  plural(damaged, "object")));
}

// --- dropping ------------------------------------------------------------------------------------

Result<> say_dropped(const Store& store, const Store::Dropped& dropped) {
  KVS_ASSIGN(const auto totals, store.totals());
  end_progress();
  fmt::print("dropped {}, {}; {}, {} are left\n", plural(dropped.objects, "object"),
             print_size(dropped.bytes), plural(totals.objects, "object"), print_size(totals.bytes));
  return {};
}

Result<uint64_t> number(const char* option, const std::string& text, uint64_t otherwise,
                        Result<uint64_t> (*parse)(std::string_view)) {
  if (text.empty()) return otherwise;
  const auto parsed = parse(text);
  return parsed.ok() ? parsed : within(option, parsed.error());
}

Result<> collect(const StoreArguments& a) {
  store::Limits limits = kNoLimits;
  KVS_ASSIGN(limits.bytes, number("--cap", a.cap, limits.bytes, parse_size));
  KVS_ASSIGN(limits.seconds, number("--ttl", a.ttl, limits.seconds, parse_duration));
  KVS_ASSIGN(Store store, open_store(a, limits));
  KVS_ASSIGN(const auto dropped, store.collect(terminal_progress()));
  return say_dropped(store, dropped);
}

Result<std::function<bool(const Entry&)>> unwanted(const StoreArguments& a, const Store& store) {
  using Which = std::function<bool(const Entry&)>;
  if (!a.object.empty()) {
    KVS_ASSIGN(const Hash own, find_object(store, a.object));
    return Which([own](const Entry& e) { return e.head.own == own; });
  }
  if (!a.root.empty()) {
    KVS_ASSIGN(const Hash root, find_root(store, a.root));
    return Which([root](const Entry& e) { return e.head.root == root; });
  }
  if (!a.tenant) return Which([](const Entry&) { return true; });
  const Hash owner = store.key().owner_of(*a.tenant);
  return Which([owner](const Entry& e) { return e.head.owner == owner; });
}

Result<> drop(const StoreArguments& a) {
  const int said = !a.object.empty() + !a.root.empty() + a.tenant.has_value() + a.all;
  if (said != 1) return usage_error("name what to drop: an object, --tenant, --root or --all");
  KVS_ASSIGN(Store store, open_store(a));
  KVS_ASSIGN(const auto which, unwanted(a, store));
  KVS_ASSIGN(const auto dropped, store.drop(which));
  // What is damaged does not say whose it is.
  if (a.all) KVS_TRY(store.verify(true, terminal_progress()));
  return say_dropped(store, dropped);
}

// --- the rest ------------------------------------------------------------------------------------

Result<> set_pin(const StoreArguments& a, bool pinned) {
  KVS_ASSIGN(Store store, open_store(a));
  KVS_ASSIGN(const Hash own, find_object(store, a.object));
  return store.pin(own, pinned);
}
Result<> pin(const StoreArguments& a) { return set_pin(a, true); }
Result<> unpin(const StoreArguments& a) { return set_pin(a, false); }

Result<> export_objects(const StoreArguments& a) {
  KVS_ASSIGN(const Store store, open_store(a));
  KVS_ASSIGN(const uint64_t n, store.export_to(a.file, {}, terminal_progress()));
  end_progress();
  fmt::print(summary_stream(a.file), "{}: {}; only stores with the key {} can take them\n", a.file,
             plural(n, "object"), store.key().fingerprint());
  return {};
}

// The store may be new, with a key that was put there.
Result<> import_objects(const StoreArguments& a) {
  KVS_ASSIGN(const std::string folder, store_folder(a.folder));
  KVS_ASSIGN(Store store, Store::open(folder, kNoLimits));
  KVS_ASSIGN(const uint64_t n, store.import_from(a.file, terminal_progress()));
  end_progress();
  fmt::print("{}: {} taken up\n", store.folder(), plural(n, "object"));
  return {};
}

// --- declarations --------------------------------------------------------------------------------

using Arguments = std::shared_ptr<StoreArguments>;

CLI::App* add(CLI::App& app, const Arguments& a, const char* name, const char* help,
              Result<> (*run)(const StoreArguments&)) {
  CLI::App* sub = app.add_subcommand(name, help);
  sub->add_option("--store", a->folder,
                  "folder of the store (default: $KVSPLICE_STORE, else kvsplice/store in "
                  "$XDG_DATA_HOME or ~/.local/share)")
      ->type_name("DIR");
  sub->callback([a, run] { a->chosen = run; });
  return sub;
}

void add_object(CLI::App* sub, const Arguments& a, bool required = true) {
  sub->add_option("object", a->object, "first digits of its name, at least 6")
      ->type_name("HASH")
      ->required(required);
}

void add_drop(CLI::App& app, const Arguments& a) {
  CLI::App* sub = add(app, a, "drop", "remove objects with all that lies behind them", drop);
  add_object(sub, a, false);
  sub->add_option("--tenant", a->tenant, "all of this tenant")->type_name("NAME");
  sub->add_option("--root", a->root, "all of this root: of a model, codec and tenant")
      ->type_name("HASH");
  sub->add_flag("--all", a->all, "all there is");
}

void add_collect(CLI::App& app, const Arguments& a) {
  CLI::App* sub = add(app, a, "gc", "remove what is of no use, too old or too much", collect);
  sub->add_option("--cap", a->cap, "most bytes, as 20G; K, M, G, T are powers of 1024")
      ->type_name("BYTES");
  sub->add_option("--ttl", a->ttl, "longest time since an object was used, as 30d; s, m, h, d")
      ->type_name("DURATION");
}

std::function<Result<>()> declare(CLI::App& app) {
  const auto a = std::make_shared<StoreArguments>();
  app.require_subcommand(1);
  add(app, a, "ls", "list the objects", list);
  add(app, a, "stat", "tell how much is in it", tell)
      ->add_option("--remote", a->remote, "also say whether this remote answers")
      ->type_name("URL");
  add(app, a, "verify", "open every object", verify)
      ->add_flag("--repair", a->repair, "remove the damaged ones");
  add_collect(app, a);
  add_object(add(app, a, "pin", "keep an object whatever its age and the cap", pin), a);
  add_object(add(app, a, "unpin", "let it go like others", unpin), a);
  add_drop(app, a);
  add(app, a, "export", "write all objects to a file", export_objects)
      ->add_option("file", a->file, "file to write")
      ->required();
  add(app, a, "import", "take up objects of a file", import_objects)
      ->add_option("file", a->file, "file that export has written")
      ->required();
  return [a] { return a->chosen(*a); };
}

}  // namespace

Command store_command();

Command store_command() {
  return {"store", "look after a store of cells: list, verify, pin, drop, export", declare};
}

}  // namespace kvsplice::app
