// trainer_state.json of a checkpoint.

#include "lib/train/checkpoints/trainer_state.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const nlohmann::json json = parsed(text_of(data, size));
  read_or_refuse([&] {
    const gca::train::TrainerState state = gca::train::trainer_state_from_json(json, "input");
    state.train_loss();
    state.model.validate("input");
    state.train.validate("input");
    gca::train::trainer_state_to_json(state).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  if (json.is_object()) read_or_refuse([&] { gca::data::require_seal(json, "input", "remedy"); });
  return 0;
}
