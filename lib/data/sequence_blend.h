#pragma once
// Sequences of several data sets in turn, so that each has its share of them at every point. Which set sequence
// number i comes from is a pure function of i, so resuming needs one integer here, too.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/data/sequence_loader.h"

namespace gca::data {

/// Rows of several batches, in their order, padded to the longest. All have chunk vectors of one size, or none has any.
Batch stack_batches(std::span<const Batch> batches);

/// Which of several sets has its turn.
class BlendOrder {
 public:
  /// `shares` of the sequences, above 0; they need not add up to 1.
  explicit BlendOrder(std::span<const double> shares);

  /// How many of the first `consumed` sequences come from each set: within two of its share.
  std::vector<int64_t> counts(int64_t consumed) const;
  /// The shares as they are kept, for fingerprints.
  std::string text() const;

 private:
  /// Of each set, its part of what the sets before it leave, in units of 2^-32: whole numbers, so that counts never
  /// depend on rounding.
  std::vector<uint64_t> parts_;
};

class SequenceBlend {
 public:
  /// As many shares as loaders.
  SequenceBlend(std::vector<SequenceLoader> loaders, BlendOrder order)
      : loaders_(std::move(loaders)), order_(std::move(order)) {}

  /// The `rows` sequences after the first `consumed` of the run.
  Batch batch(int64_t consumed, int64_t rows) const;
  const BlendOrder& order() const { return order_; }

 private:
  std::vector<SequenceLoader> loaders_;
  BlendOrder order_;
};

}  // namespace gca::data
