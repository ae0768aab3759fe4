#include "seeds.h"
#include "store/remote/children.h"

namespace kvsplice::fuzz {

Seeds store_children_seeds() {
  return {"store_children", [](const std::string&) -> Result<std::vector<Bytes>> {
            const std::vector<store::Child> children = {
                {store::ObjectKind::tail, {1, 2, 3, 4}},
                {store::ObjectKind::block, std::vector<int32_t>(200, 7)}};
            return std::vector<Bytes>{store::write_children(children),
                                      store::write_children({&children[0], 1})};
          }};
}

}  // namespace kvsplice::fuzz
