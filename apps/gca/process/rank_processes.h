#pragma once
// Several processes of this program that work as the ranks of one run, on this machine.

#include <string>
#include <vector>

namespace gca::app {

/// Starts `ranks` processes of gca with the words `command`, each told its rank by the variables of torchrun (RANK, WORLD_SIZE,
/// LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT) and `threads` by OMP_NUM_THREADS, and waits for them. Standard
/// input is empty; standard output is that of rank 0; on standard error the lines of the other ranks begin with their number.
///
/// Signals that end or save (interrupt.h) are passed on to all. Where a rank fails, the others have 5 seconds to end, then are
/// told to (SIGTERM), and after 5 more are killed; they are told to end, too, when this process is killed. Returns the exit
/// status of the first that failed, 128 + the signal that ended it; else 130 where ranks were interrupted; else 0.
int run_ranks(int ranks, int threads, const std::vector<std::string>& command);

}  // namespace gca::app
