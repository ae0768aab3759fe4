// Live caches, saved as they are.
#include <fmt/format.h>

#include <filesystem>

#include "archive.h"
#include "core/errors.h"

namespace kvsplice::app {

namespace {

class LiveArchive : public Archive {
 public:
  LiveArchive(const live::LiveForm& form, const live::LiveOptions& options)
      : form_(form), options_(options) {}

  Result<Size> open(const std::string& path) override;
  Result<std::vector<host::Token>> fill(host::Context& context) override;
  Result<> hold(const std::string& path) override;
  Result<std::string> save_to(const std::string& path, const host::Context& context,
                              std::span<const host::Token> tokens) override;
  Result<> note(const host::Context&) override { return {}; }
  void forget() override { opened_.reset(); }

 private:
  const live::LiveForm& form_;
  live::LiveOptions options_;  // of the context
  std::optional<live::SavedCache> opened_;
  std::string held_;  // path of what is reserved
  std::optional<OutputFile> reserved_;
};

Result<Archive::Size> LiveArchive::open(const std::string& path) {
  KVS_TRY(check_kind(path, true));
  KVS_ASSIGN(auto opened, live::SavedCache::open(path));
  KVS_TRY(opened.check_form(form_));
  const live::SavedCacheInfo& info = opened.info();
  if (info.options != options_) {
    return usage_error(fmt::format(
        "{} keeps {} first and {} newest tokens exact, this cache {} and {}: load it by --load",
        path, info.options.sinks, info.options.window, options_.sinks, options_.window));
  }
  opened_ = std::move(opened);
  return Size{info.cells(), info.waiting};
}

Result<std::vector<host::Token>> LiveArchive::fill(host::Context& context) {
  KVS_ASSIGN(auto tokens, opened_->tokens());
  for (const host::Token token : tokens) {
    if (token >= 0 && token < form_.shape().vocabulary) continue;
    return within(opened_->name(),
                  format_error(fmt::format("token {} is not one of the model's", token)));
  }
  KVS_ASSIGN(auto layers, opened_->layers(form_));
  KVS_TRY(context.set_live_layers(std::move(layers)));
  return tokens;
}

Result<> LiveArchive::hold(const std::string& path) {
  held_.clear();
  reserved_.reset();
  KVS_ASSIGN(reserved_, OutputFile::reserve(path, Readers::owner));
  held_ = path;
  return {};
}

Result<std::string> LiveArchive::save_to(const std::string& path, const host::Context& context,
                                         std::span<const host::Token> tokens) {
  if (path != held_) KVS_TRY(hold(path));
  OutputFile out = std::move(*reserved_);
  held_.clear();
  reserved_.reset();
  KVS_TRY(live::save_cache(std::move(out), form_, context.live_layers(), tokens));
  std::error_code unknown;
  if (!std::filesystem::is_regular_file(path, unknown)) return std::string();
  const auto again = live::SavedCache::open(path);
  const auto sound = again.ok() ? again->check() : Result<>(again.error());
  if (!sound.ok()) {
    return Error{sound.error().kind, "what was saved cannot be read: " + sound.error().message};
  }
  return describe_size(*again);
}

}  // namespace

std::unique_ptr<Archive> live_archive(const live::LiveForm& form,
                                      const live::LiveOptions& options) {
  return std::make_unique<LiveArchive>(form, options);
}

std::string describe_size(const live::SavedCache& saved) {
  double values = 0;
  for (const auto& l : saved.info().layers) values += double(l.key_width + l.value_width);
  const size_t n = saved.info().cells();
  return fmt::format("{} tokens in {:.3f} MB, {:.2f} times smaller than f16", n,
                     double(saved.bytes()) / 1e6, 2 * values * double(n) / double(saved.bytes()));
}

}  // namespace kvsplice::app
