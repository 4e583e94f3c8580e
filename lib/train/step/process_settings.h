#pragma once
// Settings of the whole process that long runs want.

namespace gca::train {

/// Operators run on `threads` threads.
void use_threads(int threads);

/// Freed memory stays with the process: a step frees and takes the same large blocks again and again, and
/// getting them from the system each time, page by page, costs a good part of the step.
void keep_freed_memory();

}  // namespace gca::train
