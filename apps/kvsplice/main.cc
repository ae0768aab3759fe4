#include <CLI/CLI.hpp>

#include "core/version.h"

int main(int argc, char** argv) {
  CLI::App app("Measures, learns and deploys KV-cache compression for GGUF models");
  app.set_version_flag("--version", kvsplice::version());
  CLI11_PARSE(app, argc, argv);
}
