#pragma once
// The stages that need LibTorch, whose libraries take a fifth of a second to load. The same command line is
// linked twice: in gca these functions hand the process over to gca-tensor (hand_over.cpp), so that help,
// wrong usage, tokenize and chunk do not wait; in gca-tensor they do the work (apps/gca-tensor).

#include <string>

namespace gca::app {

struct PretrainOptions;
struct EvalOptions;
struct TokenizeOptions;
struct GenerateOptions;
struct InspectOptions;
struct MemoryOptions;
struct BenchOptions;
struct ImportOptions;
struct ExportOptions;
struct ConvertOptions;

void run_pretrain(const PretrainOptions& options);
void run_eval(const EvalOptions& options);
/// As one of several ranks; one process does it without LibTorch.
void run_shared_tokenize(const TokenizeOptions& options);
void run_generate(const GenerateOptions& options);
void run_inspect(const InspectOptions& options);
void run_memory_build(const MemoryOptions& options);
void run_bench(const BenchOptions& options);
void run_import(const ImportOptions& options);
void run_export(const ExportOptions& options);
void run_convert(const ConvertOptions& options);

/// Before an error ends a command that ranks share: do all ranks end with this line, so that another one tells it?
bool is_told_by_another_rank(const std::string& line, int status);

}  // namespace gca::app
