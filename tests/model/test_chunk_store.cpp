// Stores of chunk memory against the tensors that were put in.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <doctest/doctest.h>

#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "lib/model/memory/stored_chunk_memory.h"
#include "tests/support/error_of.h"
#include "tests/support/gradcheck.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

using namespace gca;
using namespace gca::testing;

namespace {

struct Chunks {
  at::Tensor landmarks, keys, values;

  Chunks part(int64_t first, int64_t count) const {
    return {landmarks.narrow(1, first, count), keys.narrow(1, first, count), values.narrow(1, first, count)};
  }
};

/// c chunks of the tiny model; rows differ by orders of magnitude, one row is zero.
Chunks some_chunks(int64_t c, at::ScalarType type, double phase = 0.0) {
  const model::ModelConfig config = tiny_config();
  const std::vector<int64_t> shape = {1, c, config.chunk_text_size(), config.n_kv_heads, config.head_dim()};
  Chunks chunks;
  chunks.landmarks = some_numbers({1, c, config.d_model}, 1.0, phase).to(at::kFloat);
  chunks.keys =
      (some_numbers(shape, 3.0, phase + 1) * (1 + 50 * at::arange(c).view({1, c, 1, 1, 1}))).to(type);
  chunks.values = some_numbers(shape, 0.01, phase + 2).to(type);
  chunks.values[0][0][0][0].zero_();
  return chunks;
}

void append(model::StoredChunkMemory& memory, const Chunks& chunks) {
  memory.append(chunks.landmarks, chunks.keys, chunks.values);
}

/// The places to keep memory that every test goes through.
std::vector<model::MemoryPlace> places(const TemporaryFolder& folder) {
  return {model::MemoryPlace{}, model::MemoryPlace{.file = folder / "scratch"}};
}

/// What idx names, put where idx names it: (R, K, S-1, H_kv, dh), keys and values.
void check_read(const model::StoredChunkMemory& memory, const Chunks& wanted, const at::Tensor& idx,
                double bound_part) {
  const model::ChunkView view = memory.read(idx);
  REQUIRE(view.idx.sizes() == idx.sizes());
  const at::Tensor asked = idx.flatten(), places = view.idx.flatten();
  for (int64_t i = 0; i < asked.numel(); ++i) {
    const int64_t chunk = asked[i].item<int64_t>(), place = places[i].item<int64_t>();
    CHECK((chunk < 0) == (place < 0));
    if (chunk < 0) continue;
    for (const auto& [read, put] :
         {std::pair(view.keys, wanted.keys), std::pair(view.values, wanted.values)}) {
      const at::Tensor a = read[0][place].to(at::kDouble), b = put[0][chunk].to(at::kDouble);
      // The bound of memory/memory_layout.h: a part of the largest of the row, and the rounding to the type.
      const at::Tensor bound =
          b.abs().amax(-1, true) * bound_part + a.abs() * (read.scalar_type() == at::kFloat ? 1e-6 : 0.004);
      if (bound_part == 0)
        CHECK(at::equal(a, b));
      else
        CHECK((a - b).abs().le(bound).all().item<bool>());
    }
  }
}

}  // namespace

TEST_CASE("Every store gives back what was put in: exactly, or within the bound of int8") {
  const TemporaryFolder folder;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (const model::MemoryDtype dtype :
         {model::MemoryDtype::fp32, model::MemoryDtype::bf16, model::MemoryDtype::int8})
      for (model::MemoryPlace place : places(folder)) {
        CAPTURE(model::name_of(dtype));
        place.dtype = dtype;
        const bool exact =
            dtype == model::MemoryDtype::fp32 || (dtype == model::MemoryDtype::bf16 && type == at::kBFloat16);
        const double bound = exact ? 0.0 : dtype == model::MemoryDtype::bf16 ? 1.0 / 256 : 1.0 / 254;
        model::StoredChunkMemory memory(tiny_config(), type, place);
        const Chunks chunks = some_chunks(37, type);
        for (const auto& [first, count] : {std::pair(0, 1), {1, 9}, {10, 27}})
          append(memory, chunks.part(first, count));
        REQUIRE(memory.chunk_count() == 37);
        CHECK(at::equal(memory.landmarks(), chunks.landmarks));
        check_read(memory, chunks, at::tensor({36, 0, -1, 5, 5, 17}, at::kInt).view({1, 2, 3}), bound);
        check_read(memory, chunks, at::arange(37, at::kInt).view({1, 1, 37}), bound);
        check_read(memory, chunks, at::full({1, 3, 2}, -1, at::kInt), bound);
      }
}

TEST_CASE("A memory grows without moving what is there, over many blocks") {
  const model::ModelConfig config = tiny_config();
  model::StoredChunkMemory memory(config, at::kFloat, model::MemoryPlace{});
  const Chunks chunks = some_chunks(3000, at::kFloat);
  append(memory, chunks.part(0, 10));
  const std::byte* record = memory.record(3);
  const void* landmark = memory.landmark_parts().front().rows.const_data_ptr();
  for (int64_t first = 10; first < 3000; first += 230)
    append(memory, chunks.part(first, std::min<int64_t>(230, 3000 - first)));
  for (int round = 0; round < 2; ++round) append(memory, chunks);
  REQUIRE(memory.chunk_count() == 9000);
  CHECK(memory.record(3) == record);
  CHECK(memory.landmark_parts().front().rows.const_data_ptr() == landmark);
  CHECK(memory.landmark_parts().size() > 1);
  CHECK(at::equal(memory.landmarks().narrow(1, 0, 3000), chunks.landmarks));
  CHECK(at::equal(memory.landmarks().narrow(1, 6000, 3000), chunks.landmarks));
  check_read(memory, chunks, at::tensor({0, 2999, 1500, 777}, at::kInt).view({1, 1, 4}), 0);
}

TEST_CASE("Memories are joined, cut and patched by sharing") {
  const TemporaryFolder folder;
  for (const model::MemoryPlace& place : places(folder)) {
    const Chunks a = some_chunks(11, at::kFloat), b = some_chunks(7, at::kFloat, 0.4),
                 c = some_chunks(6, at::kFloat, 0.9);
    model::StoredChunkMemory first(tiny_config(), at::kFloat, place),
        second(tiny_config(), at::kFloat, model::MemoryPlace{});
    append(first, a);
    append(second, b);
    model::StoredChunkMemory joined(tiny_config(), at::kFloat, model::MemoryPlace{});
    joined.join(first);
    joined.join(second);
    append(joined, c.part(0, 2));
    Chunks all{at::cat({a.landmarks, b.landmarks, c.part(0, 2).landmarks}, 1),
               at::cat({a.keys, b.keys, c.part(0, 2).keys}, 1),
               at::cat({a.values, b.values, c.part(0, 2).values}, 1)};
    const at::Tensor every = at::arange(20, at::kInt).view({1, 5, 4});
    CHECK(at::equal(joined.landmarks(), all.landmarks));
    check_read(joined, all, every, 0);

    // A patch over the border of two stores; what shares the rest does not see it.
    auto patched = joined.first_chunks(20);
    patched->replace(9, c.landmarks.narrow(1, 0, 4), c.keys.narrow(1, 0, 4), c.values.narrow(1, 0, 4));
    Chunks changed{all.landmarks.clone(), all.keys.clone(), all.values.clone()};
    changed.landmarks.narrow(1, 9, 4).copy_(c.landmarks.narrow(1, 0, 4));
    changed.keys.narrow(1, 9, 4).copy_(c.keys.narrow(1, 0, 4));
    changed.values.narrow(1, 9, 4).copy_(c.values.narrow(1, 0, 4));
    CHECK(patched->chunk_count() == 20);
    CHECK(at::equal(patched->landmarks(), changed.landmarks));
    check_read(*patched, changed, every, 0);
    check_read(joined, all, every, 0);
    for (const int64_t at : {0, 17, 19, 10}) {  // at both ends, and over an earlier patch
      const Chunks one = c.part(5, 1);
      patched->replace(at, one.landmarks, one.keys, one.values);
      changed.landmarks.narrow(1, at, 1).copy_(one.landmarks);
      changed.keys.narrow(1, at, 1).copy_(one.keys);
      changed.values.narrow(1, at, 1).copy_(one.values);
      CHECK(at::equal(patched->landmarks(), changed.landmarks));
      check_read(*patched, changed, every, 0);
    }

    // Clones go on apart from each other.
    const auto clone = joined.clone();
    append(joined, c.part(2, 1));
    clone->append(c.part(3, 1).landmarks, c.part(3, 1).keys, c.part(3, 1).values);
    CHECK(clone->chunk_count() == 21);
    CHECK(at::equal(clone->landmarks().narrow(1, 20, 1), c.part(3, 1).landmarks));
    CHECK(at::equal(joined.landmarks().narrow(1, 20, 1), c.part(2, 1).landmarks));
    const model::ChunkView view = clone->read(at::tensor({20, 4}, at::kInt).view({1, 1, 2}));
    CHECK(at::equal(view.keys[0][view.idx[0][0][0].item<int64_t>()], c.part(3, 1).keys[0][0]));
  }
}

TEST_CASE("A scratch file has no name while it is used, and refuses to replace anything") {
  const TemporaryFolder folder;
  const model::MemoryPlace place{.file = folder / "scratch"};
  {
    model::StoredChunkMemory memory(tiny_config(), at::kFloat, place);
    append(memory, some_chunks(4, at::kFloat));
    CHECK_FALSE(std::filesystem::exists(folder / "scratch"));
    check_read(memory, some_chunks(4, at::kFloat), at::arange(4, at::kInt).view({1, 1, 4}), 0);
  }
  write_file_atomically(folder / "scratch", "something of the user's");
  model::StoredChunkMemory memory(tiny_config(), at::kFloat, place);
  const auto error = error_of([&] { append(memory, some_chunks(1, at::kFloat)); });
  REQUIRE(error.has_value());
  CHECK(error->is_usage());
  CHECK(error->says("does not exist yet"));
  CHECK(read_file(folder / "scratch") == "something of the user's");
  CHECK(error_of([] { model::MemoryPlace::of("disk", ""); })->says("file:PATH"));
  CHECK(error_of([] { model::MemoryPlace::of("ram", "int4"); })->says("int8"));
  CHECK(model::MemoryPlace::of("file:x", "int8").file == "x");
}

TEST_CASE("The int8 copy of landmarks covers every whole run, however a memory came to be") {
  const Chunks chunks = some_chunks(400, at::kFloat), others = some_chunks(150, at::kFloat, 0.7);
  model::StoredChunkMemory one_by_one(tiny_config(), at::kFloat, model::MemoryPlace{}),
      at_once(tiny_config(), at::kFloat, model::MemoryPlace{});
  for (int64_t chunk = 0; chunk < 400; ++chunk) append(one_by_one, chunks.part(chunk, 1));
  append(at_once, others);
  auto joined = one_by_one.first_chunks(399);
  joined->join(at_once);
  joined->replace(70, others.landmarks.narrow(1, 0, 5), others.keys.narrow(1, 0, 5),
                  others.values.narrow(1, 0, 5));

  const auto runs_of = [](const model::StoredChunkMemory& memory) {
    int64_t runs = 0;
    for (const kernels::LandmarkPart& part : memory.landmark_parts()) runs += part.coarse.count;
    return runs;
  };
  CHECK(runs_of(one_by_one) == 6);  // 400 = 6 x 64 + 16
  // Chunks 0 to 63, 128 to 383 of the first store (the patch is in its second run), 0 to 127 of the other.
  CHECK(runs_of(*joined) == 1 + 4 + 2);

  const at::Tensor query = some_numbers({1, 3, tiny_config().d_model}, 1.0, 0.6).to(at::kFloat);
  for (const model::StoredChunkMemory* memory : {&one_by_one, &at_once, joined.get()}) {
    const int64_t C = memory->chunk_count();
    const std::vector<kernels::LandmarkPart> plain = {{memory->landmarks()}};
    const kernels::LandmarkChoice possible =
        kernels::landmark_search(query, memory->landmark_parts(), C, 4, 1.0);
    const kernels::LandmarkChoice all = kernels::landmark_search(query, plain, C, 4, 1.0);
    CHECK(at::equal(possible.idx, all.idx));
    CHECK(at::equal(possible.r, all.r));
  }
}
