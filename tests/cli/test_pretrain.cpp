// gca pretrain as a user runs it.

#include <doctest/doctest.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "lib/core/files/safetensors_file.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/json_schema.h"
#include "tests/support/run_gca.h"
#include "tests/support/write_file.h"

using nlohmann::json;

namespace {

/// Two short books as token shards.
std::string make_tokens(const TemporaryFolder& folder) {
  std::ofstream a(folder / "a.txt"), b(folder / "b.txt");
  for (int i = 0; i < 600; ++i) {
    a << "the " << i << "th sheep jumped over the fence and was counted\n";
    b << "nobody counted " << i << " goats\n";
  }
  a.close();
  b.close();
  const ProcessResult result = run_gca({"tokenize", folder / "a.txt", folder / "b.txt", "--train-vocab",
                                        "300", "--output", folder / "tokens", "--quiet"});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  return folder / "tokens";
}

}  // namespace

TEST_CASE("pretrain on shards writes a checkpoint, metrics and a valid report") {
  const TemporaryFolder folder;
  const std::string tokens = make_tokens(folder);
  const ProcessResult result =
      run_gca({"pretrain", "--data", tokens, "--valid", tokens, "--config", "nano", "--set", "context=60",
               "--set", "eval_sequences=2", "--set", "diagnostics_interval=1", "--steps", "3", "--peak",
               "--json", "--output", folder / "run"});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  const json report = result.json();
  CHECK(problems_of("pretrain", report) == "");
  CHECK(problems_of("pretrain", json::parse(gca::read_file(folder / "run/report.json"))) == "");
  CHECK(report["result"]["steps"] == 3);
  CHECK(report["result"]["valid"].size() == 2);  // before and after
  CHECK(report["result"]["valid"][0]["step"] == 0);
  CHECK(report["result"]["valid"][1]["loss"] < report["result"]["valid"][0]["loss"]);
  CHECK(report["result"]["utilization"].is_number());
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.model", "optimizer.safetensors", "trainer_state.json"})
    CHECK(std::filesystem::exists(folder / ("run/checkpoint/" + std::string(file))));

  std::ifstream metrics(folder / "run/metrics.jsonl");
  int64_t steps = 0;
  for (std::string line; std::getline(metrics, line);) {
    const json entry = json::parse(line);
    if (entry.contains("valid")) continue;
    ++steps;
    for (const char* key : {"step", "tokens", "loss", "bits_per_byte", "learning_rate", "gradient_norm",
                            "tokens_per_second", "retrieval"})
      CHECK_MESSAGE(entry.contains(key), key);
    for (const char* key : {"spread", "entropy", "mean_distance"}) CHECK(entry["retrieval"][0].contains(key));
  }
  CHECK(steps == 3);

  // Other data may not go on with this run; the same data may, without naming it again.
  const ProcessResult changed =
      run_gca({"pretrain", "--resume", "--output", folder / "run", "--set", "context=61", "--steps", "4"});
  CHECK(changed.status == 2);
  CHECK(changed.err.find("context") != std::string::npos);
  const ProcessResult goes_on = run_gca({"pretrain", "--resume", "--output", folder / "run", "--steps", "4"});
  CHECK_MESSAGE(goes_on.status == 0, goes_on.err);
  CHECK(saved_step(folder / "run") == 4);
}

TEST_CASE("--steps 0 saves the untrained model, and --init starts from it") {
  const TemporaryFolder folder;
  const ProcessResult untrained = run_gca(tiny_run(folder / "a", {"--steps", "0", "--json", "--seed", "7"}));
  REQUIRE_MESSAGE(untrained.status == 0, untrained.err);
  CHECK(problems_of("pretrain", untrained.json()) == "");
  CHECK(untrained.json()["result"]["tokens"] == 0);
  const ProcessResult copy = run_gca({"pretrain", "--task", "self-copy", "--init", folder / "a/checkpoint",
                                      "--steps", "0", "--output", folder / "b", "--seed", "8", "--quiet"});
  REQUIRE_MESSAGE(copy.status == 0, copy.err);
  CHECK(gca::read_file(folder / "a/checkpoint/model.safetensors") ==
        gca::read_file(folder / "b/checkpoint/model.safetensors"));
}

TEST_CASE("--phases: tasks in turn, resumed to the same bits, and repeated from the report" *
          doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const std::string tokens = make_tokens(folder);
  const std::string phases = R"({"phases": [
    {"name": "copy", "steps": 4, "chunk_size": 8, "sliding_window": [4, 8], "residual_blend": [1, 0],
     "tasks": [{"task": "self-copy", "copy_shifted": true, "batch": 3}, {"task": "multikey", "chunks": 20}]},
    {"name": "text", "steps": 3, "learning_rate": [0.002, 0.0001], "gumbel_scale": 0, "chunks": 8,
     "tasks": [{"task": "text", "batch": 1}, {"task": "passkey", "share": 2},
               {"task": "recall", "chunk_size": 8, "chunk_top_k": 5}]}]})";
  std::ofstream(folder / "phases.json") << phases;
  const auto run = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words = {
        "pretrain",        "--data",   tokens,        "--phases",         folder / "phases.json",
        "--config",        "nano",     "--set",       "eval_sequences=2", "--set",
        "eval_interval=2", "--output", folder / name, "--threads",        "1",
        "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run_gca(words);
  };
  const ProcessResult straight = run("straight", {});
  REQUIRE_MESSAGE(straight.status == 0, straight.err);
  const json report = straight.json();
  CHECK(problems_of("pretrain", report) == "");
  CHECK(report["result"]["steps"] == 7);
  CHECK(report["config"]["phases"]["phases"].size() == 2);
  std::set<std::string> looked_at;
  for (const json& valid : report["result"]["valid"]) looked_at.insert(valid["task"]);
  CHECK(looked_at == std::set<std::string>{"self-copy", "multikey", "passkey", "recall"});
  const json config = json::parse(gca::read_file(folder / "straight/checkpoint/config.json"));
  CHECK(config["residual_blend"] == 0.0);
  CHECK(config["chunk_size"] == 16);  // of the phase, not of its last task
  const json preset = run_gca({"pretrain", "--config", "nano", "--print-config", "--json"}).json();
  CHECK(config["chunk_top_k"] == preset["chunk_top_k"]);

  std::vector<double> blends;
  std::ifstream metrics(folder / "straight/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);)
    if (const json entry = json::parse(line); entry.contains("residual_blend"))
      blends.push_back(entry["residual_blend"]);
  REQUIRE(blends.size() == 7);
  CHECK(blends[0] == 1.0);
  CHECK(blends[1] == doctest::Approx(2.0 / 3));
  CHECK(blends[3] == 0.0);

  for (const char* stop : {"3", "5"}) {
    const std::string name = std::string("halved") + stop;
    const ProcessResult half = run(name, {"--stop-at", stop});
    REQUIRE_MESSAGE(half.status == 0, half.err);
    const ProcessResult rest =
        run_gca({"pretrain", "--resume", "--quiet", "--output", folder / name, "--threads", "1"});
    REQUIRE_MESSAGE(rest.status == 0, rest.err);
    CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / name));
  }
  const ProcessResult repeated = run_gca({"pretrain", "--config", folder / "straight/report.json", "--output",
                                          folder / "repeated", "--threads", "1", "--quiet"});
  REQUIRE_MESSAGE(repeated.status == 0, repeated.err);
  CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / "repeated"));

  // A setting of a task reaches the steps of that task.
  std::ofstream(folder / "phases.json")
      << std::regex_replace(phases, std::regex(R"(, "chunk_top_k": 5)"), "");
  REQUIRE(run("fewer", {}).status == 0);
  CHECK(checkpoint_bytes(folder / "straight") != checkpoint_bytes(folder / "fewer"));

  CHECK(run("refused", {"--steps", "3"}).status == 2);
  const ProcessResult changed = run_gca({"pretrain", "--resume", "--phases", folder / "phases.json",
                                         "--output", folder / "halved3", "--threads", "1"});
  CHECK(changed.status == 2);
  std::ofstream(folder / "phases.json")
      << R"({"phases": [{"name": "a", "steps": 1, "tasks": [{"task": "passkey"}]}]})";
  const ProcessResult damaged = run("damaged", {});
  CHECK(damaged.status == 2);
  CHECK(damaged.err.find("no length") != std::string::npos);
}

TEST_CASE(
    "--phases: a phase ends when its task is learned, in a run that was stopped as in one that was not") {
  const TemporaryFolder folder;
  // One token in ten is right by chance: the first goal is met at the first look, the second never.
  gca::testing::write_file(folder / "phases.json", R"({"phases": [
    {"name": "easy", "steps": 30, "tasks": [{"task": "self-copy"}],
     "until": {"task": "self-copy", "accuracy": 0.001, "every": 4}},
    {"name": "hard", "steps": 6, "tasks": [{"task": "self-copy"}],
     "until": {"task": "self-copy", "accuracy": 1, "every": 2}},
    {"name": "rest", "steps": 4, "learning_rate": [0.001, 0], "tasks": [{"task": "self-copy"}]}]})");
  const auto train = [&](const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        "pretrain", "--phases", folder / "phases.json", "--config", "nano", "--threads",
        "1",        "--set",    "vocab_size=11",        "--batch",  "2",    "--output",
        output};
    words.insert(words.end(), more.begin(), more.end());
    const ProcessResult result = run_gca(words);
    REQUIRE_MESSAGE(result.status == 0, result.err);
    return result;
  };
  const ProcessResult whole = train(folder / "whole", {"--json"});
  CHECK(whole.err.find("\"easy\" ends") != std::string::npos);
  CHECK(whole.err.find("\"hard\" ends") == std::string::npos);
  const json report = whole.json();
  CHECK(problems_of("pretrain", report) == "");
  CHECK(report["result"]["steps"] == 40);
  std::vector<int64_t> lengths;
  for (const json& phase : report["config"]["phases"]["phases"]) lengths.push_back(phase["steps"]);
  CHECK(lengths == std::vector<int64_t>{4, 6, 30});
  std::vector<std::pair<int64_t, bool>> looks;
  std::ifstream metrics(folder / "whole/metrics.jsonl");
  for (std::string text; std::getline(metrics, text);)
    if (const json line = json::parse(text); line.contains("goal"))
      looks.emplace_back(line["step"], line["goal"]["is_met"]);
  CHECK(looks == std::vector<std::pair<int64_t, bool>>{{4, true}, {6, false}, {8, false}});

  for (const char* stop : {"3", "4", "7"}) {
    CAPTURE(stop);
    const std::string parts = folder / "parts-" + stop;
    train(parts, {"--stop-at", stop, "--quiet"});
    REQUIRE(run_gca({"pretrain", "--resume", "--output", parts, "--threads", "1", "--quiet"}).status == 0);
    CHECK(gca::read_file(parts + "/checkpoint/model.safetensors") ==
          gca::read_file(folder / "whole/checkpoint/model.safetensors"));
  }
  REQUIRE(run_gca({"pretrain", "--config", folder / "whole/report.json", "--output", folder / "again",
                   "--threads", "1", "--quiet"})
              .status == 0);
  CHECK(gca::read_file(folder / "again/checkpoint/model.safetensors") ==
        gca::read_file(folder / "whole/checkpoint/model.safetensors"));
}

TEST_CASE("--phases and --config may be pipes, which can be read once only") {
  const TemporaryFolder folder;
  gca::write_file_atomically(
      folder / "phases.json",
      R"({"phases": [{"name": "a", "steps": 2, "tasks": [{"task": "self-copy", "batch": 3}]}]})");
  gca::write_file_atomically(folder / "config.json", R"({"learning_rate": 0.004})");
  const auto train = [&](const std::string& output, const std::string& phases, const std::string& config) {
    const ProcessResult result = run_program(
        {"bash", "-c",
         "exec \"$0\" pretrain --set vocab_size=32 --set sliding_window=8 --config nano --threads 1 --quiet "
         "--output \"$1\" --phases " +
             phases + " --config " + config,
         GCA_BINARY, output});
    REQUIRE_MESSAGE(result.status == 0, result.err);
  };
  const std::string phases = "'" + (folder / "phases.json") + "'",
                    config = "'" + (folder / "config.json") + "'";
  train(folder / "files", phases, config);
  train(folder / "pipes", "<(cat " + phases + ")", "<(cat " + config + ")");
  CHECK(checkpoint_bytes(folder / "files") == checkpoint_bytes(folder / "pipes"));
  const json report = json::parse(gca::read_file(folder / "pipes/report.json"));
  CHECK(report["config"]["learning_rate"] == 0.004);

  const ProcessResult printed =
      run_program({"bash", "-c", "exec \"$0\" pretrain --print-config --json --config <(cat " + config + ")",
                   GCA_BINARY});
  REQUIRE_MESSAGE(printed.status == 0, printed.err);
  CHECK(printed.json()["learning_rate"] == 0.004);
}

TEST_CASE("--init takes what gca eval takes: the folder of a run, and weights in bf16") {
  const TemporaryFolder folder;
  REQUIRE(run_gca(tiny_run(folder / "run", {"--steps", "1", "--quiet"})).status == 0);
  const std::string checkpoint = folder / "run/checkpoint";
  const auto weights_from = [&](const std::string& init, const std::string& output) {
    const ProcessResult result = run_gca({"pretrain", "--task", "self-copy", "--init", init, "--steps", "0",
                                          "--quiet", "--output", output, "--threads", "1"});
    REQUIRE_MESSAGE(result.status == 0, result.err);
    return gca::read_file(output + "/checkpoint/model.safetensors");
  };
  CHECK(weights_from(folder / "run", folder / "of-run") ==
        weights_from(checkpoint, folder / "of-checkpoint"));

  // The same weights cut to bf16: their upper halves.
  std::filesystem::create_directory(folder / "bf16");
  std::filesystem::copy(checkpoint + "/config.json", folder / "bf16/config.json");
  const gca::SafetensorsFile masters(checkpoint + "/model.safetensors");
  std::map<std::string, std::vector<uint16_t>> halves;
  std::vector<gca::SafetensorsTensor> tensors;
  for (const auto& [name, entry] : masters.entries()) {
    std::vector<uint16_t>& half = halves[name];
    for (size_t i = 2; i < entry.size_bytes; i += 4) {
      uint16_t upper = 0;
      std::memcpy(&upper, entry.data + i, sizeof(upper));
      half.push_back(upper);
    }
    tensors.push_back({name, "BF16", entry.shape, half.data()});
  }
  gca::write_safetensors(folder / "bf16/model.safetensors", tensors, {});
  weights_from(folder / "bf16", folder / "of-bf16");
  const gca::SafetensorsFile taken(folder / "of-bf16/checkpoint/model.safetensors");
  for (const auto& [name, half] : halves) {
    const gca::SafetensorsEntry& entry = taken.at(name);
    for (size_t i = 0; i < half.size(); ++i) {
      uint32_t bits = 0;
      std::memcpy(&bits, entry.data + 4 * i, sizeof(bits));
      REQUIRE(bits == uint32_t{half[i]} << 16);
    }
  }

  const ProcessResult refused = run_gca({"pretrain", "--task", "self-copy", "--init", folder / "nowhere",
                                         "--steps", "0", "--output", folder / "none"});
  CHECK(refused.status == 2);
  CHECK(refused.err.find("--init " + (folder / "nowhere")) != std::string::npos);
}

TEST_CASE("Ctrl-C saves, exits with 130, and --resume goes on to the same bits") {
  const TemporaryFolder folder;
  const std::vector<std::string> long_run = {"--steps", "100", "--quiet"};
  RunningProcess run(gca_words(tiny_run(folder / "stopped", long_run)));
  REQUIRE(run.wait_until([&] { return std::filesystem::exists(folder / "stopped/checkpoint"); }));
  run.send_signal(SIGINT);
  CHECK(run.wait().status == 130);
  CHECK(saved_step(folder / "stopped") < 100);
  REQUIRE(run_gca(tiny_run(folder / "straight", long_run)).status == 0);
  REQUIRE(
      run_gca({"pretrain", "--resume", "--quiet", "--output", folder / "stopped", "--threads", "1"}).status ==
      0);
  CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / "stopped"));
}

TEST_CASE("--stop-at saves and leaves the plan as it was") {
  const TemporaryFolder folder;
  REQUIRE(run_gca(tiny_run(folder / "straight", {"--steps", "8", "--quiet"})).status == 0);
  REQUIRE(run_gca(tiny_run(folder / "halved", {"--steps", "8", "--stop-at", "4", "--quiet"})).status == 0);
  CHECK(saved_step(folder / "halved") == 4);
  REQUIRE(
      run_gca({"pretrain", "--resume", "--quiet", "--output", folder / "halved", "--threads", "1"}).status ==
      0);
  CHECK(checkpoint_bytes(folder / "straight") == checkpoint_bytes(folder / "halved"));
}

TEST_CASE("Two runs into one folder: the second is refused") {
  const TemporaryFolder folder;
  RunningProcess run(gca_words(tiny_run(folder / "run", {"--steps", "100000", "--quiet"})));
  REQUIRE(run.wait_until([&] { return std::filesystem::exists(folder / "run/checkpoint"); }));
  const ProcessResult second = run_gca({"pretrain", "--resume", "--output", folder / "run"});
  CHECK(second.status == 2);
  CHECK(second.err.find("another run") != std::string::npos);
}

TEST_CASE("--config with the report of a run repeats it, bit for bit" * doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const std::string tokens = make_tokens(folder);
  const ProcessResult first =
      run_gca({"pretrain", "--data",     tokens,    "--valid", tokens,     "--config",         "nano",
               "--set",    "context=60", "--batch", "2",       "--set",    "eval_sequences=2", "--tokens",
               "300",      "--seed",     "5",       "--quiet", "--output", folder / "a"});
  REQUIRE_MESSAGE(first.status == 0, first.err);
  const ProcessResult again =
      run_gca({"pretrain", "--config", folder / "a/report.json", "--quiet", "--output", folder / "b"});
  REQUIRE_MESSAGE(again.status == 0, again.err);
  CHECK(gca::read_file(folder / "a/checkpoint/model.safetensors") ==
        gca::read_file(folder / "b/checkpoint/model.safetensors"));
  const json report = json::parse(gca::read_file(folder / "b/report.json"));
  CHECK(report["seed"] == 5);
  CHECK(report["result"]["steps"] ==
        json::parse(gca::read_file(folder / "a/report.json"))["result"]["steps"]);

  const ProcessResult other = run_gca(
      {"pretrain", "--config", folder / "a/report.json", "--seed", "6", "--quiet", "--output", folder / "c"});
  REQUIRE_MESSAGE(other.status == 0, other.err);
  CHECK(gca::read_file(folder / "a/checkpoint/model.safetensors") !=
        gca::read_file(folder / "c/checkpoint/model.safetensors"));

  gca::write_file_atomically(folder / "no.json", R"({"schema": "gca.eval/1", "config": {}})");
  const ProcessResult refused =
      run_gca({"pretrain", "--config", folder / "no.json", "--steps", "1", "--output", folder / "d"});
  CHECK(refused.status == 2);
  CHECK(refused.err.find("not the report of a training run") != std::string::npos);
}

TEST_CASE("--print-config tells every setting and its source, as a table or as a file for --config") {
  const TemporaryFolder folder;
  gca::write_file_atomically(folder / "mine.json", R"({"chunk_top_k": 3, "learning_rate": 0.25})");
  const std::vector<std::string> words = {"pretrain", "--config",          folder / "mine.json",
                                          "--set",    "learning_rate=0.5", "--batch",
                                          "7",        "--print-config"};
  const ProcessResult table = run_gca(words);
  REQUIRE_MESSAGE(table.status == 0, table.err);
  const auto line_of = [&](const std::string& key) {
    const size_t begin = table.out.find("\n" + key + " ") + 1;
    return table.out.substr(begin, table.out.find('\n', begin) - begin);
  };
  CHECK(line_of("chunk_top_k").find(folder / "mine.json") != std::string::npos);
  CHECK(line_of("learning_rate").find(" 0.5 ") != std::string::npos);
  CHECK(line_of("learning_rate").ends_with(" --set"));
  CHECK(line_of("batch").ends_with(" --batch"));
  CHECK(line_of("retrieval_groups").ends_with(" default"));

  std::vector<std::string> as_json = words;
  as_json.emplace_back("--json");
  const ProcessResult printed = run_gca(as_json);
  gca::write_file_atomically(folder / "printed.json", printed.out);
  CHECK(run_gca({"pretrain", "--config", folder / "printed.json", "--print-config", "--json"}).out ==
        printed.out);
  CHECK(printed.json()["chunk_top_k"] == 3);
}

TEST_CASE("Settings: defaults, then preset, then file, then --set, then flags") {
  const TemporaryFolder folder;
  // nano sets hidden_size, chunk_top_k, batch and context; each later place overrules one of them more.
  gca::write_file_atomically(folder / "mine.json", R"({"chunk_top_k": 3, "batch": 5, "context": 100})");
  const ProcessResult result =
      run_gca({"pretrain", "--batch", "7", "--set", "context=200", "--config", folder / "mine.json",
               "--config", "nano", "--set", "batch=6", "--print-config"});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  const auto line_of = [&](const std::string& key) {
    std::istringstream stream(result.out.substr(result.out.find("\n" + key + " ") + 1));
    std::string name, value, source;
    stream >> name >> value;
    std::getline(stream, source);
    return value + source.substr(source.find_first_not_of(' ') - 1);
  };
  CHECK(line_of("retrieval_groups") == "1 preset nano");
  CHECK(line_of("weight_decay") == "0.001 default");
  CHECK(line_of("hidden_size") == "64 preset nano");
  CHECK(line_of("chunk_top_k") == "3 " + (folder / "mine.json"));
  CHECK(line_of("context") == "200 --set");
  CHECK(line_of("batch") == "7 --batch");
}

TEST_CASE("--dry-run tells what a run would need, and starts nothing" * doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  const std::string tokens = make_tokens(folder);
  const std::vector<std::string> words = {
      "pretrain",  "--data",   tokens,     "--valid",      tokens,
      "--config",  "mini",     "--set",    "context=500",  "--batch",
      "6",         "--tokens", "6000",     "--set",        "eval_sequences=6",
      "--threads", "1",        "--output", folder / "run", "--start-up",
      "none"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return more;
  };
  const ProcessResult dry = run_gca(with({"--dry-run", "--json"}));
  REQUIRE_MESSAGE(dry.status == 0, dry.err);
  CHECK(problems_of("pretrain-dry-run", dry.json()) == "");
  CHECK(!std::filesystem::exists(folder / "run"));
  const json estimate = dry.json()["result"];
  const ProcessResult table = run_gca(with({"--dry-run"}));
  CHECK(table.out.find("parameters                " + estimate["parameters"].dump()) != std::string::npos);
  CHECK(table.out.find("activations") != std::string::npos);

  const ProcessResult real = run_gca(with({"--json", "--quiet"}));
  REQUIRE_MESSAGE(real.status == 0, real.err);
  const json result = real.json()["result"];
  CHECK(estimate["parameters"] == result["parameters"]);
  CHECK(estimate["flops_per_token"] == result["flops_per_token"]);
  CHECK(estimate["steps"] == result["steps"]);
  CHECK(estimate["validations"] == result["valid"].size());
  double parts = 0;
  for (const json& part : estimate["memory"]) parts += part["bytes"].get<double>();
  CHECK(parts == doctest::Approx(estimate["memory_bytes"].get<double>()));
  const double ratio = estimate["memory_bytes"].get<double>() / result["peak_memory_bytes"].get<double>();
  CAPTURE(ratio);
  CHECK((ratio > 0.7 && ratio < 1.5));

  // No data is needed where the vocabulary is said; no length, no time.
  const ProcessResult without =
      run_gca({"pretrain", "--config", "nano", "--set", "vocab_size=300", "--dry-run"});
  CHECK(without.status == 0);
  CHECK(without.out.find("say how long") != std::string::npos);
  CHECK(run_gca({"pretrain", "--config", "nano", "--dry-run"}).err.find("--data") != std::string::npos);
}

TEST_CASE("A batch or a model too large for memory is told before anything starts") {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::vector<std::string>& more, const std::string& words) {
    const ProcessResult result = run_gca(tiny_run(folder / "run", more));
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(words) != std::string::npos);
    CHECK(!std::filesystem::exists(folder / "run/checkpoint"));
    CHECK(!std::filesystem::exists(folder / "run/metrics.jsonl"));
  };
  refuses({"--steps", "1", "--batch", "1M"}, "--batch: a step with batch 1048576 of 60 tokens takes about");
  refuses({"--steps", "1", "--set", "batch=1M"}, "--set: a step with batch");
  refuses({"--steps", "1", "--set", "hidden_size=1M"}, "parameters take");
}

TEST_CASE("Wrong usage of pretrain is refused by name") {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::vector<std::string>& words, const std::string& name) {
    const ProcessResult result = run_gca(words);
    CAPTURE(result.err);
    CHECK(result.status == 2);
    CHECK(result.err.find(name) != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  };
  refuses(tiny_run(folder / "x"), "--steps");
  refuses({"pretrain", "--config", "nano", "--steps", "1"}, "--output");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--tokens", "1"}), "--tokens");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--set", "chunk_sise=8"}), "chunk_size");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--set", "chunk_size=0"}), "chunk_size");
  refuses(tiny_run(folder / "x", {"--steps", "1", "--set", "batch=0"}), "batch");
  refuses({"pretrain", "--config", "nano", "--steps", "1", "--output", folder / "x"}, "--data");
  refuses({"pretrain", "--config", "huge", "--steps", "1", "--output", folder / "x"}, "nano, mini");
  refuses({"pretrain", "--data", folder / "nowhere", "--config", "nano", "--steps", "1", "--output",
           folder / "x"},
          "nowhere");
  refuses({"pretrain", "--resume", "--output", folder / "nothing"}, "no checkpoint");
  REQUIRE(run_gca(tiny_run(folder / "run", {"--steps", "0", "--quiet"})).status == 0);
  refuses(tiny_run(folder / "run", {"--steps", "1"}), "--overwrite");
  refuses({"pretrain", "--resume", "--output", folder / "run", "--set", "hidden_size=32"}, "hidden_size");
}

TEST_CASE("Python's safetensors opens a checkpoint") {
  const TemporaryFolder folder;
  REQUIRE(run_gca(tiny_run(folder / "run", {"--steps", "1", "--quiet"})).status == 0);
  const std::string program =
      "import sys\n"
      "from safetensors import deserialize\n"
      "for name in ('model', 'optimizer'):\n"
      "  data = open(f'{sys.argv[1]}/{name}.safetensors', 'rb').read()\n"
      "  for key, entry in deserialize(data): print(key, *entry['shape'])\n";
  gca::write_file_atomically(folder / "names.py", program);
  const ProcessResult result = run_program(
      {"sh", "-c",
       std::string(GCA_PYTHON) + " " + (folder / "names.py") + " " + (folder / "run/checkpoint")});
  REQUIRE_MESSAGE(result.status == 0, result.err);
  for (const char* line :
       {"tok_emb 32 64\n", "lower.0.attn.wq 64 64\n", "upper.0.gca.wo 64 64\n", "out_norm 64\n",
        "first_moment.mem.wk 64 64\n", "second_moment.group.0.query_norm 64\n"})
    CHECK_MESSAGE(result.out.find(line) != std::string::npos, line);
}
