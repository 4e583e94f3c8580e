#pragma once
// Signals as flags that long loops look at.
//
//   SIGINT, SIGTERM                      end: what is saved at an interruption is saved, then the process exits
//                                        with 130. The same signal once more ends it at once.
//   SIGHUP, SIGQUIT, SIGUSR2, SIGXCPU    end likewise. Batch systems and terminals repeat these, so repetitions
//                                        do no more.
//   SIGUSR1                              save and go on. Where there is nothing to save it does nothing (main.cpp).

#include <atomic>

namespace gca::app {

/// Set by the first signal that ends the process, after install_interrupt_handler().
const std::atomic<bool>& interrupt_flag();

/// SIGHUP stays ignored where it is when the program starts (nohup).
void install_interrupt_handler();

/// Throws Interrupted (lib/core/interrupted.h) when the flag is set.
void throw_if_interrupted();

/// Set by SIGUSR1 after install_save_handler(); whoever saves clears it first.
std::atomic<bool>& save_request();

void install_save_handler();

}  // namespace gca::app
