#include "host/state_target.h"
#include "seeds.h"
#include "small_cells.h"
#include "support/state_shape.h"

namespace kvsplice::fuzz {

namespace {

using namespace host;

// Of both versions, of caches of each type, and of a context that parts its sequences.
std::vector<StateTarget> targets() {
  std::vector<StateTarget> all;
  for (StateForm form :
       {StateForm::session_file, StateForm::sequence_file, StateForm::sequence_data}) {
    for (CellType type : {CellType::f32, CellType::f16, CellType::q8_0}) {
      for (const StateVersion& version : kStateVersions) {
        StateTarget target;
        target.form = form;
        target.key_type = target.value_type = type;
        target.version = version;
        all.push_back(target);
      }
    }
  }
  StateTarget parted;
  parted.streams = 2;
  all.push_back(parted);
  return all;
}

Result<std::vector<Bytes>> make(const std::string&) {
  std::vector<Bytes> seeds;
  for (const ModelShape& shape : state_shapes()) {
    const KvBlock<uint16_t> cells = some_cells(shape, 5);
    for (const StateTarget& target : targets()) {
      const size_t n = extent_of_state(target.form, 5, 0).cells;
      const session::RecurrentState recurrent = some_state(shape, n);
      KVS_ASSIGN(Bytes seed, to_state(cells, {}, shape, target, &recurrent));
      seeds.push_back(std::move(seed));
    }
  }
  return seeds;
}

}  // namespace

Seeds state_seeds() { return {"state", make}; }

}  // namespace kvsplice::fuzz
