#pragma once
// Ids of the words that a thread has met: a text repeats its words, and looking one up is many times faster
// than merging its bytes again.

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gca::text {

/// One thread's; emptied when it is full.
class WordCache {
 public:
  /// The ids kept for `word`, or an empty span. Holds until the next keep().
  std::span<const int32_t> find(std::string_view word) const {
    const auto found = places_.find(word);
    if (found == places_.end()) return {};
    return std::span(ids_).subspan(found->second.first, found->second.count);
  }

  /// Keeps the ids of a word that find() does not know; ids must not be empty.
  void keep(std::string_view word, std::span<const int> ids) {
    if (places_.size() >= kMostWords) {
      places_.clear();
      ids_.clear();
    }
    places_.emplace(word, Place{static_cast<uint32_t>(ids_.size()), static_cast<uint32_t>(ids.size())});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  static constexpr size_t kMostWords = size_t{1} << 17;

  struct Place {
    uint32_t first, count;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };

  std::unordered_map<std::string, Place, Hash, std::equal_to<>> places_;
  std::vector<int32_t> ids_;
};

/// Belongs to one tokenizer. A thread keeps the words of the tokenizer that it used last.
class ThreadWordCache {
 public:
  WordCache& of_thread() const {
    thread_local WordCache cache;
    thread_local uint64_t owner = 0;
    if (owner != number_) {
      cache = WordCache();
      owner = number_;
    }
    return cache;
  }

 private:
  inline static std::atomic<uint64_t> tokenizers_{0};
  uint64_t number_ = ++tokenizers_;
};

}  // namespace gca::text
