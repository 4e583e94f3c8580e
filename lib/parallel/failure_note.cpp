#include "lib/parallel/failure_note.h"

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <string>
#include <thread>
#include <vector>

#include "lib/parallel/communicator.h"

namespace gca::parallel {
namespace {

constexpr const char* kFailures = "failures";
constexpr const char* kNote = "failure_note";
constexpr const char* kLeft = "left_after_failure";

}  // namespace

bool leave_failure_note(const Communicator& communicator, ErrorKind kind, int lost) {
  c10d::Store& store = *communicator.store_of_all();
  try {
    if (store.add(kFailures, 1) != 1) return false;
    store.set(kNote, std::to_string(static_cast<int>(kind)) + " " + std::to_string(lost));
  } catch (const std::exception&) {  // the store is gone, and with it those who could ask
  }
  return true;
}

void throw_failure_note(const Communicator& communicator) {
  c10d::Store& store = *communicator.store_of_all();
  constexpr auto kMoment = std::chrono::milliseconds(500);
  std::string note;
  try {
    store.wait({kNote}, kMoment);
    const std::vector<uint8_t> text = store.get(kNote);
    note.assign(text.begin(), text.end());
  } catch (const std::exception&) {
    return;
  }
  const size_t gap = note.find(' ');
  throw FailedElsewhere(static_cast<ErrorKind>(std::stoi(note)), std::stoi(note.substr(gap + 1)));
}

void end_after_failure(std::unique_ptr<Communicator> communicator, int lost,
                       std::chrono::milliseconds at_most) {
  const c10::intrusive_ptr<c10d::Store> store = communicator->store_of_all();
  const int rank = communicator->rank();
  const int size = communicator->size();
  communicator.reset();
  constexpr auto kPause = std::chrono::milliseconds(5);
  const auto end = std::chrono::steady_clock::now() + at_most;
  try {
    int64_t left = store->add(kLeft, 1);
    while (rank == 0 && left < size - lost && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(kPause);
      left = store->add(kLeft, 0);
    }
  } catch (const std::exception&) {  // the store is gone
  }
}

}  // namespace gca::parallel
