// How a model is loaded and evaluated, by the names llama.cpp gives these options.
#pragma once

#include <vector>

#include "host/model.h"
#include "number_option.h"

namespace kvsplice::app {

// Returns the options, for verbs that do not always evaluate.
inline std::vector<CLI::Option*> add_model_options(CLI::App& app, host::ModelOptions& o) {
  return {
      add_number(app, "--gpu-layers", o.gpu_layers, {0, 1 << 16},
                 "or -ngl: layers in memory of a device; 0: all on the processor"),
      app.add_option("--rpc", o.servers, "HOST:PORT of ggml's rpc-servers, as devices")
          ->delimiter(','),
      app.add_flag("!--no-mmap", o.mmap, "read the whole model at once"),
      add_number(app, "-b,--batch-size", o.batch, {1, 1 << 20},
                 "most tokens evaluated at once, if that is less than -ub"),
      add_number(app, "--ubatch-size", o.ubatch, {1, 1 << 20},
                 "or -ub: most tokens evaluated at once"),
      app.add_option_function<std::string>(
             "--flash-attn", [&o](const std::string& value) { o.flash_attention = value == "on"; },
             "or -fa: on (default) or off")
          ->check(CLI::IsMember({"on", "off"})),
  };
}

// For verbs that have no context of their own.
inline CLI::Option* add_context_option(CLI::App& app, host::ModelOptions& o) {
  return add_number(
      app, "-c,--ctx-size,--ctx", o.context, {1, 1 << 28},
      "tokens of the contexts that cells are of: some models turn by another table "
      "in long ones (LongRoPE), and live caches are fitted for them; 0: short ones, or, "
      "for live caches, up to 8192");
}

}  // namespace kvsplice::app
