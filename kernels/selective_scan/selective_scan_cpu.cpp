// The selective scan on a CPU. A task is a text and some neighbouring channels, whose positions it walks
// through in chunks (common/scan_kernels.h). Sums over texts and over channels are made of one part a task, in
// the order of the tasks.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <type_traits>

#include "kernels/common/flush_subnormals.h"
#include "kernels/common/scan_kernels.h"
#include "kernels/common/thread_workspace.h"
#include "kernels/selective_scan/selective_scan_versions.h"

namespace gca::kernels {
namespace {

constexpr int64_t kChannelsOfTask = 64;

struct Workspace;

struct Sizes {
  int64_t batch, positions, channels, states;
  int64_t blocks;  // of channels
  int64_t chunks;

  explicit Sizes(const SelectiveScanInputs& in)
      : batch(in.u.size(0)),
        positions(in.u.size(1)),
        channels(in.u.size(2)),
        states(in.a_log.size(1)),
        blocks((channels + kChannelsOfTask - 1) / kChannelsOfTask),
        chunks((positions + kScanChunk - 1) / kScanChunk) {}
};

template <typename Element>
const Element* elements(const at::Tensor& tensor) {
  return static_cast<const Element*>(tensor.const_data_ptr());
}
template <typename Element>
Element* elements_to_write(const at::Tensor& tensor) {
  return static_cast<Element*>(tensor.mutable_data_ptr());
}

/// (N, channels)
at::Tensor rates_of(const at::Tensor& a_log) {
  return at::exp(a_log).neg().t().contiguous();
}

template <typename Element>
ScanChunk<Element> chunk_of(const SelectiveScanInputs& in, const Sizes& sizes, const at::Tensor& rates,
                            int64_t row, int64_t block, int64_t chunk) {
  const int64_t first_channel = block * kChannelsOfTask;
  const int64_t position = row * sizes.positions + chunk * kScanChunk;
  const int64_t place = position * sizes.channels + first_channel;
  return {.positions = std::min(kScanChunk, sizes.positions - chunk * kScanChunk),
          .channels = std::min(kChannelsOfTask, sizes.channels - first_channel),
          .states = sizes.states,
          .row_step = sizes.channels,
          .state_step = sizes.channels,
          .u = elements<Element>(in.u) + place,
          .delta = elements<Element>(in.delta) + place,
          .z = elements<Element>(in.z) + place,
          .b = elements<Element>(in.b) + position * sizes.states,
          .c = elements<Element>(in.c) + position * sizes.states,
          .a = elements<float>(rates) + first_channel,
          .d = elements<float>(in.d) + first_channel,
          .delta_bias = elements<float>(in.delta_bias) + first_channel};
}

template <typename Element>
void forward(const ScanKernels<Element>& kernels, const SelectiveScanInputs& in,
             const ScanForwardResult& result) {
  const Sizes sizes(in);
  const at::Tensor rates = rates_of(in.a_log);
  at::parallel_for(0, sizes.batch * sizes.blocks, 1, [&](int64_t begin, int64_t end) {
    [[maybe_unused]] const FlushSubnormals flush;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / sizes.blocks;
      const int64_t block = task % sizes.blocks;
      const int64_t size = sizes.states * sizes.channels;
      float* state = elements_to_write<float>(result.state) + row * size + block * kChannelsOfTask;
      for (int64_t chunk = 0; chunk < sizes.chunks; ++chunk) {
        const ScanChunk<Element> part = chunk_of<Element>(in, sizes, rates, row, block, chunk);
        if (result.borders.defined()) {
          float* border = elements_to_write<float>(result.borders) + (row * sizes.chunks + chunk) * size +
                          block * kChannelsOfTask;
          for (int64_t n = 0; n < sizes.states; ++n)
            std::copy_n(state + n * sizes.channels, part.channels, border + n * sizes.channels);
        }
        kernels.forward(part, state,
                        elements_to_write<Element>(result.out) + (part.u - elements<Element>(in.u)));
      }
    }
  });
}

template <typename Element>
ScanBackwardResult backward(const ScanKernels<Element>& kernels, const at::Tensor& dout,
                            const SelectiveScanInputs& in, const at::Tensor& borders) {
  const Sizes sizes(in);
  const at::Tensor rates = rates_of(in.a_log);
  const at::TensorOptions wide = in.a_log.options();
  const at::Tensor du = at::empty(in.u.sizes(), in.u.options());
  const at::Tensor ddelta = at::empty(in.u.sizes(), in.u.options());
  const at::Tensor dz = at::empty(in.u.sizes(), in.u.options());
  // A part for each task, or for each text.
  const at::Tensor db = at::zeros({sizes.batch, sizes.blocks, sizes.positions, sizes.states}, wide);
  const at::Tensor dc = at::zeros({sizes.batch, sizes.blocks, sizes.positions, sizes.states}, wide);
  const at::Tensor da = at::zeros({sizes.batch, sizes.states, sizes.channels}, wide);
  const at::Tensor dd = at::zeros({sizes.batch, sizes.channels}, wide);
  const at::Tensor ddelta_bias = at::zeros({sizes.batch, sizes.channels}, wide);
  const at::Tensor dstate = at::zeros({sizes.batch, sizes.states, sizes.channels}, wide);
  at::parallel_for(0, sizes.batch * sizes.blocks, 1, [&](int64_t begin, int64_t end) {
    [[maybe_unused]] const FlushSubnormals flush;
    float* scratch = ThreadWorkspace<float, Workspace>::get(scan_scratch_size(kScanChunk, sizes.states));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / sizes.blocks;
      const int64_t block = task % sizes.blocks;
      const int64_t size = sizes.states * sizes.channels;
      const int64_t first_channel = block * kChannelsOfTask;
      for (int64_t chunk = sizes.chunks - 1; chunk >= 0; --chunk) {
        const ScanChunk<Element> part = chunk_of<Element>(in, sizes, rates, row, block, chunk);
        const int64_t place = part.u - elements<Element>(in.u);
        const int64_t position = (row * sizes.blocks + block) * sizes.positions + chunk * kScanChunk;
        const ScanGradients<Element> gradients = {
            .dout = elements<Element>(dout) + place,
            .du = elements_to_write<Element>(du) + place,
            .ddelta = elements_to_write<Element>(ddelta) + place,
            .dz = elements_to_write<Element>(dz) + place,
            .db = elements_to_write<float>(db) + position * sizes.states,
            .dc = elements_to_write<float>(dc) + position * sizes.states,
            .da = elements_to_write<float>(da) + row * size + first_channel,
            .dd = elements_to_write<float>(dd) + row * sizes.channels + first_channel,
            .ddelta_bias = elements_to_write<float>(ddelta_bias) + row * sizes.channels + first_channel,
            .dstate = elements_to_write<float>(dstate) + row * size + first_channel};
        kernels.backward(part, elements<float>(borders) + (row * sizes.chunks + chunk) * size + first_channel,
                         gradients, scratch);
      }
    }
  });
  const at::ScalarType type = in.u.scalar_type();
  return {du,
          ddelta,
          dz,
          db.sum(1).to(type),
          dc.sum(1).to(type),
          (da.sum(0) * rates).t().contiguous(),
          dd.sum(0),
          ddelta_bias.sum(0)};
}

}  // namespace

ScanForwardResult selective_scan_forward_cpu(const SelectiveScanInputs& in, const at::Tensor& state,
                                             bool keeps_borders) {
  ScanForwardResult result{at::empty(in.u.sizes(), in.u.options()), state.clone(), {}};
  const int64_t chunks = (in.u.size(1) + kScanChunk - 1) / kScanChunk;
  if (keeps_borders)
    result.borders = at::empty({in.u.size(0), chunks, state.size(1), state.size(2)}, state.options());
  if (in.u.scalar_type() == at::kBFloat16)
    forward<uint16_t>(scan_kernels().of_bf16, in, result);
  else
    forward<float>(scan_kernels().of_float, in, result);
  return result;
}

ScanBackwardResult selective_scan_backward_cpu(const at::Tensor& dout, const SelectiveScanInputs& in,
                                               const at::Tensor& borders) {
  return in.u.scalar_type() == at::kBFloat16 ? backward<uint16_t>(scan_kernels().of_bf16, dout, in, borders)
                                             : backward<float>(scan_kernels().of_float, dout, in, borders);
}

}  // namespace gca::kernels
