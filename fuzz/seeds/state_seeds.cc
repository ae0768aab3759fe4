#include "seeds.h"
#include "session/state_rows.h"
#include "small_cells.h"
#include "support/state_shape.h"

namespace kvsplice::fuzz {

namespace {

using namespace session;

Result<std::vector<Bytes>> make(const std::string&) {
  std::vector<Bytes> seeds;
  for (bool window : {false, true}) {
    const ModelShape shape = state_shape(window);
    const Cells cells = some_cells(shape, 5);
    for (StateForm form :
         {StateForm::session_file, StateForm::sequence_file, StateForm::sequence_data}) {
      for (CellType type : {CellType::f32, CellType::f16, CellType::q8_0}) {
        KVS_ASSIGN(Bytes seed, to_state(cells, {}, shape, form, type));
        seeds.push_back(std::move(seed));
      }
    }
  }
  return seeds;
}

}  // namespace

Seeds state_seeds() { return {"state", make}; }

}  // namespace kvsplice::fuzz
