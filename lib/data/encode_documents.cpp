#include "lib/data/encode_documents.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "lib/core/error.h"
#include "lib/core/mapped_file.h"
#include "lib/data/worker_pool.h"

namespace gca {
namespace {

/// A cut is judged by the bytes on both sides: this many after it must be known.
constexpr size_t kLookAheadBytes = 16;

/// A piece of text and what keeps its bytes alive.
struct TextBlock {
  std::string_view text;
  std::shared_ptr<const void> owner;
};

using BlockSink = std::function<void(TextBlock block, bool is_last)>;

void cut_mapped_file(const std::string& path, const Tokenizer& tokenizer, size_t block_bytes,
                     const BlockSink& sink) {
  const auto file = std::make_shared<MappedFile>(path);
  std::string_view rest(reinterpret_cast<const char*>(file->data()), file->size_bytes());
  do {
    // Where the text has no safe cut within a block, a larger block is tried: safe_cut gives the whole text otherwise.
    size_t cut = rest.size();
    for (size_t limit = block_bytes; limit < rest.size(); limit *= 2) {
      const std::string_view window = rest.substr(0, limit + kLookAheadBytes);
      cut = tokenizer.safe_cut(window, std::min(limit, window.size() - 1));
      if (cut > 0 && cut < window.size()) break;
      cut = rest.size();
    }
    const std::string_view text = rest.substr(0, cut);
    rest.remove_prefix(cut);
    sink({text, file}, rest.empty());
  } while (!rest.empty());
}

/// Reads up to `size_bytes`; fewer only at the end of the stream.
size_t read_fully(int descriptor, const std::string& name, const std::function<void()>& poll, char* out,
                  size_t size_bytes) {
  size_t filled = 0;
  while (filled < size_bytes) {
    const ssize_t count = ::read(descriptor, out + filled, size_bytes - filled);
    if (count < 0 && errno == EINTR) {
      poll();
      continue;
    }
    if (count < 0) fail_usage(name, std::string("cannot be read (") + std::strerror(errno) + ")");
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  return filled;
}

void cut_stream(int descriptor, const std::string& name, const Tokenizer& tokenizer,
                const EncodeOptions& options, const BlockSink& sink) {
  std::string carried;  // read, not yet handed on
  size_t wanted = options.block_bytes;
  for (bool at_end = false; !at_end;) {
    const size_t before = carried.size();
    carried.resize(before + wanted);
    const size_t count = read_fully(descriptor, name, options.poll, carried.data() + before, wanted);
    at_end = count < wanted;
    carried.resize(before + count);
    size_t cut = carried.size();
    if (!at_end) {
      cut = carried.size() > kLookAheadBytes ? tokenizer.safe_cut(carried, carried.size() - kLookAheadBytes)
                                             : carried.size();
      if (cut == 0 || cut == carried.size()) {  // No safe place so far: read as much again.
        wanted = std::max(options.block_bytes, carried.size());
        continue;
      }
    }
    wanted = options.block_bytes;
    const auto block = std::make_shared<const std::string>(carried, 0, cut);
    carried.erase(0, cut);
    sink({*block, block}, at_end);
  }
}

int open_stream(const std::string& path, const std::function<void()>& poll) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) return descriptor;
    if (errno != EINTR) fail_usage(path, std::string("cannot be read (") + std::strerror(errno) + ")");
    poll();
  }
}

void cut_input(const TextInput& input, const Tokenizer& tokenizer, const EncodeOptions& options,
               const BlockSink& sink) {
  if (!input.is_stream) return cut_mapped_file(input.name, tokenizer, options.block_bytes, sink);
  if (input.name == "-") return cut_stream(STDIN_FILENO, "standard input", tokenizer, options, sink);
  const int descriptor = open_stream(input.name, options.poll);
  const std::shared_ptr<void> closer(nullptr, [descriptor](void*) { ::close(descriptor); });
  cut_stream(descriptor, input.name, tokenizer, options, sink);
}

}  // namespace

void encode_documents(std::span<const TextInput> inputs, const Tokenizer& tokenizer,
                      const EncodeOptions& options, const std::function<void(const EncodedBlock&)>& sink) {
  // Blocks in flight bound the memory: a few for each thread, so that none waits for the one that hands results on.
  const size_t most_pending = static_cast<size_t>(std::max(1, options.threads)) * 4;
  std::deque<std::pair<TextBlock, std::future<EncodedBlock>>> pending;
  WorkerPool pool(options.threads);
  const auto hand_on_oldest = [&] {
    const EncodedBlock block = pending.front().second.get();
    sink(block);
    pending.pop_front();
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    bool is_first = true;
    cut_input(inputs[i], tokenizer, options, [&](TextBlock source, bool is_last) {
      options.poll();
      if (pending.size() >= most_pending) hand_on_oldest();
      EncodedBlock block;
      block.document = static_cast<int64_t>(i);
      block.is_first = std::exchange(is_first, false);
      block.is_last = is_last;
      block.text = source.text;
      auto result = pool.submit([&tokenizer, block]() mutable {
        block.ids = tokenizer.encode(block.text, &block.faults);
        return block;
      });
      pending.emplace_back(std::move(source), std::move(result));
    });
  }
  while (!pending.empty()) hand_on_oldest();
}

}  // namespace gca
