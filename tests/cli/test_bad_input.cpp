// What a stranger may get wrong: files that are missing, damaged or not theirs, numbers out of range, outputs
// that cannot be written. Each is refused in one line that names the file or flag, and nothing is touched.

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/cli/folder_image.h"
#include "tests/cli/nano_run.h"
#include "tests/cli/tiny_run.h"
#include "tests/support/write_file.h"

namespace fs = std::filesystem;

namespace {

using Words = std::vector<std::string>;

/// Status 2 (or `status`), nothing on standard output, one line that begins with the command and names `name`.
void check_refused(const Words& words, const std::string& name, int status = 2) {
  const ProcessResult result = run_gca(words);
  std::string line;
  for (const std::string& word : words) line += word + " ";
  CAPTURE(line);
  CAPTURE(result.err);
  CHECK(result.status == status);
  CHECK(result.out == "");
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.starts_with("gca " + words.front() + ": error: "));
  CHECK(result.err.find("internal error") == std::string::npos);
  CHECK(result.err.find(name) != std::string::npos);
}

/// Books, tokens, sequences, a run, a session and files of settings: all that a command may read.
struct Workshop : NanoRun {
  Workshop() {
    gca::write_file_atomically(*this / "mine.json", R"({"chunk_top_k": 2, "batch": 2, "context": 256})");
    must_run({"generate", "--checkpoint", checkpoint(), "--prompt", "On day 7 the keeper", "--max-new-tokens",
              "4", "--quiet", "--save-memory", session()});
  }

  std::string session() const { return *this / "session"; }
  std::string folder() const { return fs::path(*this / "x").parent_path().string(); }

  // What reads which file. Outputs are new folders, so that a success would be seen, too.
  Words chunk() const {
    return {"chunk", "--tokens", tokens(), "--output", *this / "new", "--chunk-size", "16"};
  }
  Words pretrain() const {
    return {"pretrain", "--data",  sequences(), "--config",  "nano", "--set",    "context=256", "--steps",
            "1",        "--batch", "2",         "--threads", "1",    "--output", *this / "new"};
  }
  Words eval(const std::string& data) const {
    return {"eval", "--checkpoint", checkpoint(), "--data", data, "--threads", "1"};
  }
  Words generate() const {
    return {"generate", "--checkpoint", checkpoint(), "--prompt", "a", "--max-new-tokens",
            "2",        "--threads",    "1"};
  }
  Words resume() const {
    return {"pretrain", "--resume", "--output", *this / "run", "--steps", "3", "--threads", "1"};
  }
  Words go_on() const {
    return {"generate", "--checkpoint", checkpoint(), "--load-memory", session(), "--max-new-tokens", "2"};
  }
};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct Damage {
  std::string name;
  std::function<void(const std::string& path)> apply;
};

std::string flipped(std::string content, double place, int bit) {
  const auto at = static_cast<size_t>(place * static_cast<double>(content.size() - 1));
  content[at] = static_cast<char>(content[at] ^ (1 << bit));
  return content;
}

/// A folder in the file's place: what even root cannot read.
void make_unreadable(const std::string& path) {
  fs::remove_all(path);
  fs::create_directory(path);
}

std::vector<Damage> damages(bool with_flips) {
  std::vector<Damage> all = {
      {"missing", [](const std::string& path) { fs::remove(path); }},
      {"empty", [](const std::string& path) { fs::resize_file(path, 0); }},
      {"unreadable", make_unreadable},
      {"cut in half", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) / 2); }},
      {"one byte short", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) - 1); }},
      {"other bytes", [](const std::string& path) {
         gca::testing::write_file(path, std::string(fs::file_size(path), '\xA5'));
       }}};
  if (!with_flips) return all;
  for (const double place : {0.0, 0.0007, 0.01, 0.2, 0.47, 0.8, 0.995})
    all.push_back({"a flipped bit at " + std::to_string(place), [place](const std::string& path) {
                     gca::testing::write_file(
                         path, flipped(gca::read_file(path), place, static_cast<int>(1e4 * place) % 8));
                   }});
  return all;
}

}  // namespace

TEST_CASE("damaged files are refused by name, by every command that reads them, and nothing is touched" *
          doctest::test_suite("slow")) {
  const Workshop shop;
  struct Row {
    std::string file;  ///< below the workshop
    Words words;
    bool has_checksum = true;  ///< a flipped bit is found
  };
  const std::vector<Row> table = {
      {"tokens/index.json", shop.chunk()},
      {"tokens/tokens-00000.bin", shop.chunk()},
      {"tokens/tokenizer.model", shop.chunk()},
      {"tokens/tokens-00000.bin", shop.eval(shop.tokens())},
      {"tokens/tokens-00000.bin", shop.pretrain()},
      {"sequences/index.json", shop.pretrain()},
      {"sequences/train.bin", shop.pretrain()},
      {"sequences/valid.bin", shop.pretrain()},
      {"mine.json", with(shop.pretrain(), {"--config", shop / "mine.json"}), false},
      {"run/report.json", with(shop.pretrain(), {"--config", shop / "run/report.json"}), false},
      {"run/checkpoint/config.json", shop.generate()},
      {"run/checkpoint/model.safetensors", shop.generate()},
      {"run/checkpoint/tokenizer.model", shop.generate()},
      {"run/checkpoint/model.safetensors", shop.resume()},
      {"run/checkpoint/optimizer.safetensors", shop.resume()},
      {"run/checkpoint/trainer_state.json", shop.resume()},
      {"run/checkpoint/model.safetensors", with(shop.pretrain(), {"--init", shop.checkpoint()})},
      {"run/checkpoint/config.json", with(shop.pretrain(), {"--init", shop.checkpoint()})},
      {"session/index.json", shop.go_on()},
      {"session/session.safetensors", shop.go_on()},
  };
  int cases = 0;
  for (const Row& row : table) {
    const std::string path = shop / row.file;
    const std::string content = gca::read_file(path);
    for (const Damage& damage : damages(row.has_checksum)) {
      // The last byte of an index is a newline that means nothing.
      if (damage.name == "one byte short" && row.file.ends_with(".json")) continue;
      CAPTURE(row.file);
      CAPTURE(damage.name);
      damage.apply(path);
      const FolderImage before = image_of(shop.folder());
      // Without config.json or model.safetensors a folder is not a checkpoint; without trainer_state.json it
      // cannot be resumed.
      const bool no_checkpoint =
          damage.name == "missing" && row.file.starts_with("run/checkpoint/") && row.words[1] != "--data";
      check_refused(row.words, no_checkpoint && !row.file.ends_with("tokenizer.model")
                                   ? "run/checkpoint"
                                   : fs::path(row.file).filename().string());
      CHECK(difference(before, image_of(shop.folder())) == "");
      fs::remove_all(shop / "new");
      ++cases;
      fs::remove_all(path);
      gca::testing::write_file(path, content);
    }
  }
  MESSAGE(cases << " damaged files");
  NanoRun::must_run(with(shop.generate(), {"--quiet"}));  // all is mended
}

TEST_CASE("every byte region of a checkpoint's weights is guarded" * doctest::test_suite("slow")) {
  const TemporaryFolder folder;
  REQUIRE(run_gca(tiny_run(folder / "run", {"--steps", "1", "--quiet"})).status == 0);
  for (const std::string name : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string path = folder / ("run/checkpoint/" + name);
    const std::string content = gca::read_file(path);
    for (int region = 0; region < 16; ++region) {
      CAPTURE(region);
      gca::testing::write_file(path, flipped(content, (region + 0.5) / 16, region % 8));
      check_refused(resumed(folder / "run", {"--steps", "2"}), name);
    }
    gca::testing::write_file(path, content);
  }
}

TEST_CASE("files that belong to others are refused" * doctest::test_suite("slow")) {
  const Workshop shop;
  const NanoRun other({"hidden_size=32"});
  const std::string wide = shop / "other-tokens";
  NanoRun::must_run({"tokenize", shop.book(), "--train-vocab", "390", "--output", wide, "--quiet"});
  NanoRun::must_run({"chunk", "--tokens", wide, "--output", shop / "other-sequences", "--chunk-size", "16",
                     "--context", "256", "--quiet"});
  const FolderImage before = image_of(shop.folder());

  // Another tokenizer.
  check_refused(shop.eval(wide), "--data " + wide);
  check_refused(with(shop.pretrain(), {"--valid", wide}), "--valid " + wide);
  check_refused({"pretrain", "--data", shop / "other-sequences", "--init", shop.checkpoint(), "--steps", "1",
                 "--output", shop / "new"},
                "--init " + shop.checkpoint());
  // Another chunk size.
  check_refused(with(shop.pretrain(), {"--set", "chunk_size=32"}), shop.sequences());
  // --resume with other data, sizes, type or task.
  check_refused(with(shop.resume(), {"--data", shop / "other-sequences"}), "--resume");
  check_refused(with(shop.resume(), {"--data", shop.tokens()}), "--resume");
  check_refused(with(shop.resume(), {"--set", "hidden_size=32"}), "hidden_size");
  check_refused(with(shop.resume(), {"--config", "mini"}), "--resume");
  check_refused(with(shop.resume(), {"--batch", "3"}), "batch");
  check_refused(with(shop.resume(), {"--task", "self-copy"}), "--task");
  check_refused(with(shop.resume(), {"--steps", "1"}), "--steps");
  check_refused(with(shop.resume(), {"--minutes", "1"}), "--steps");  // excludes
  // Contexts that no document has.
  check_refused(with(shop.eval(shop.tokens()), {"--context", "64,1M"}), "--context 1048576");
  check_refused({"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--context", "10"},
                "--context");
  CHECK(difference(before, image_of(shop.folder())) == "");

  // The files of another model, in the place of the run's own.
  for (const std::string name : {"model.safetensors", "config.json", "tokenizer.model"}) {
    const std::string path = shop.checkpoint() + "/" + name;
    const std::string own = gca::read_file(path);
    gca::testing::write_file(path,
                             gca::read_file(name == "tokenizer.model" ? wide + "/tokenizer.model"
                                                                      : other.checkpoint() + "/" + name));
    check_refused(shop.generate(), shop.checkpoint());
    gca::testing::write_file(path, own);
  }
  for (const std::string name : {"optimizer.safetensors", "trainer_state.json"}) {
    const std::string path = shop.checkpoint() + "/" + name;
    const std::string own = gca::read_file(path);
    gca::testing::write_file(path, gca::read_file(other.checkpoint() + "/" + name));
    check_refused(shop.resume(), shop.checkpoint());
    gca::testing::write_file(path, own);
  }
  check_refused({"generate", "--checkpoint", other.checkpoint(), "--load-memory", shop.session()},
                shop.session());
  // Data that changed under a run.
  NanoRun::must_run({"chunk", "--tokens", shop.tokens(), "--output", shop.sequences(), "--chunk-size", "16",
                     "--context", "128", "--quiet"});
  check_refused(shop.resume(), "--resume");
}

TEST_CASE("numbers out of range are refused by flag or key" * doctest::test_suite("slow")) {
  const Workshop shop;
  const FolderImage before = image_of(shop.folder());
  const Words pretrain = {"pretrain", "--data",   shop.sequences(), "--config",
                          "nano",     "--output", shop / "new"};
  const Words generate = {"generate", "--checkpoint", shop.checkpoint(), "--prompt", "a"};
  struct Row {
    Words words;
    std::string name;
  };
  std::vector<Row> table = {
      {{"tokenize", shop.book(), "--output", shop / "new", "--train-vocab", "3"}, "--train-vocab"},
      {{"tokenize", shop.book(), "--output", shop / "new", "--train-vocab", "1M"}, "--train-vocab"},
      {{"tokenize", shop.book(), "--output", shop / "new", "--train-vocab", "-5"}, "--train-vocab"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--chunk-size", "1"}, "--chunk-size"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--context", "0"}, "--context"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--context", "9999999999999999999"},
       "--context"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--context", "8E"}, "--context"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--context", "3G"}, "--context"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--valid-fraction", "1"},
       "--valid-fraction"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--valid-fraction", "nan"},
       "--valid-fraction"},
      {{"chunk", "--tokens", shop.tokens(), "--output", shop / "new", "--valid-fraction", "-0.1"},
       "--valid-fraction"},
      {with(pretrain, {"--steps", "-1"}), "--steps"},
      {with(pretrain, {"--steps", "1.5"}), "--steps"},
      {with(pretrain, {"--minutes", "0"}), "--minutes"},
      {with(pretrain, {"--minutes", "nan"}), "--minutes"},
      {with(pretrain, {"--minutes", "inf"}), "--minutes"},
      {with(pretrain, {"--steps", "1", "--batch", "0"}), "batch"},
      {with(pretrain, {"--steps", "1", "--seed", "-1"}), "--seed"},
      {with(pretrain, {"--steps", "1", "--seed", "99999999999999999999"}), "--seed"},
      {with(pretrain, {"--steps", "1", "--threads", "0"}), "--threads"},
      {with(pretrain, {"--steps", "1", "--threads", "1000000"}), "--threads"},
      {with(generate, {"--temperature", "-1"}), "--temperature"},
      {with(generate, {"--temperature", "nan"}), "--temperature"},
      {with(generate, {"--top-p", "0"}), "--top-p"},
      {with(generate, {"--top-p", "1.5"}), "--top-p"},
      {with(generate, {"--top-k", "-3"}), "--top-k"},
      {with(generate, {"--max-new-tokens", "many"}), "--max-new-tokens"},
      {with(shop.eval(shop.tokens()), {"--context", "0"}), "--context"},
      {with(shop.eval(shop.tokens()), {"--context", "64,,128"}), "--context"},
      {{"inspect-retrieval", "--checkpoint", shop.checkpoint(), "--prompt", "a", "--chunk", "99"}, "--chunk"},
      {{"bench", "--config", "nano", "--context", "0"}, "--context"},
  };
  for (const char* setting : {"learning_rate=-1",
                              "learning_rate=1e999",
                              "min_learning_rate=1",
                              "warmup_fraction=2",
                              "adam_beta1=1",
                              "adam_beta2=-0.5",
                              "adam_epsilon=0",
                              "weight_decay=-1",
                              "gradient_accumulation=0",
                              "context=1",
                              "eval_sequences=0",
                              "eval_interval=-1",
                              "checkpoint_minutes=-1",
                              "hidden_size=0",
                              "hidden_size=63",
                              "hidden_size=9223372036854775807",
                              "num_attention_heads=3",
                              "sliding_window=0",
                              "vocab_size=100",
                              "landmark_token_id=5",
                              "num_lower_layers=0",
                              "num_upper_layers=-1",
                              "num_upper_layers=99999999999",
                              "retrieval_groups=5",
                              "chunk_top_k=0",
                              "rms_norm_eps=0",
                              "rope_theta=0",
                              "residual_blend=2",
                              "alibi_slopes=[1]",
                              "upper_group_layers=[1,1]",
                              "long_range=\"magic\"",
                              "batch=2000000"}) {
    const std::string text = setting;
    std::string key = text.substr(0, text.find('='));
    if (key == "landmark_token_id" || key == "vocab_size") key = "--set " + key;
    if (key == "hidden_size" && text.ends_with("7")) key = "hidden_size";
    if (key == "num_lower_layers" || key == "num_upper_layers") key = "num_";
    if (key == "retrieval_groups") key = "retrieval group";
    if (key == "context") key = "context";
    table.push_back({with(pretrain, {"--steps", "1", "--set", text}), key});
  }
  for (const Row& row : table) {
    check_refused(row.words, row.name);
    fs::remove_all(shop / "new");
  }
  CHECK(difference(before, image_of(shop.folder())) == "");
  MESSAGE(table.size() << " numbers out of range");
}

TEST_CASE("plans of phases that cannot be meant are refused before anything begins" *
          doctest::test_suite("slow")) {
  const Workshop shop;
  const std::string file = shop / "phases.json";
  const auto refused = [&](const std::string& plan, const std::string& name) {
    gca::testing::write_file(file, plan);
    const FolderImage before = image_of(shop.folder());
    check_refused(
        {"pretrain", "--data", shop.tokens(), "--config", "nano", "--phases", file, "--output", shop / "new"},
        name);
    CHECK(difference(before, image_of(shop.folder())) == "");
    fs::remove_all(shop / "new");
  };
  const auto phase = [](const std::string& steps, const std::string& settings) {
    return R"({"phases": [{"name": "a", "steps": )" + steps + R"(, "tasks": [{)" + settings + "}]}]}";
  };
  const std::string task = R"("task": "passkey", "context": 256)";
  refused("", file);
  refused("\xA5\x5A", file);
  refused("[1]", file);
  refused(R"({"phases": [)", file);
  refused("{}", "--phases");
  refused(R"({"phases": {}})", "--phases");
  refused(R"({"phases": [7]})", "--phases, phase 1");
  refused(R"({"phases": [{"name": 3, "steps": 1, "tasks": []}]})", "--phases, phase 1");
  for (const char* steps : {"0", "-1", "1.5", "1e30", "\"2\"", "99999999999999", "18446744073709551615"})
    refused(phase(steps, task), "--phases");
  for (const char* more :
       {R"("batch": 0)", R"("batch": 4000000)", R"("share": -1)", R"("share": "all")", R"("hiden": 3)",
        R"("hidden_size": 32)", R"("learning_rate": [1, 2, 3])", R"("learning_rate": -1)",
        R"("learning_rate": 1e999)", R"("residual_blend": [0, 2])", R"("sliding_window": [8, 1e30])",
        R"("sliding_window": 0)", R"("chunks": 8)", R"("chunk_size": 1)", R"("needle_value_tokens": -1)",
        R"("needle_distractors": "3")"}) {
    CAPTURE(more);
    refused(phase("2", task + std::string(", ") + more), "--phases");
  }
  refused(phase("2", task + R"(, "batch": 1000000)"), "are free");  // memory
  refused(phase("2", R"("task": "passkeys", "context": 256)"), "did you mean passkey?");
  refused(phase("2", R"("task": "passkey")"), "no length");
  refused(phase("2", R"("task": "passkey", "chunks": 0)"), "chunks is 0");
  refused(phase("2", R"("task": "passkey", "chunks": 99999999999999)"), "context is out of range");
  refused(phase("2", R"("task": "passkey", "context": 8)"), "passkey task");
  fs::remove(file);
  check_refused(with(shop.pretrain(), {"--phases", file}), "--steps excludes --phases");
  check_refused(
      {"pretrain", "--data", shop.tokens(), "--config", "nano", "--phases", file, "--output", shop / "new"},
      file);
  check_refused({"pretrain", "--resume", "--output", shop / "run", "--phases", shop / "mine.json"},
                "--phases");
}

TEST_CASE("flags of the planted tasks and of chunk memory are refused where they cannot be used" *
          doctest::test_suite("slow")) {
  const Workshop shop;
  gca::testing::write_file(shop / "precious", "text");
  const FolderImage before = image_of(shop.folder());
  const auto eval = [&](const std::string& task, const Words& more) {
    return with({"eval", "--checkpoint", shop.checkpoint(), "--data", shop.tokens(), "--threads", "1",
                 "--task", task, "--trials", "2"},
                more);
  };
  struct Row {
    Words words;
    std::string name;
  };
  const std::vector<Row> table = {
      {eval("passkey", {}), "--context"},
      {eval("passkey", {"--context", "0"}), "--context"},
      {eval("passkey", {"--context", "128", "--trials", "0"}), "--trials"},
      {eval("passkey", {"--context", "128", "--trials", "-1"}), "--trials"},
      {eval("passkey", {"--context", "8"}), "--task passkey"},
      {eval("passkey", {"--context", "128", "--value-tokens", "0"}), "--value-tokens"},
      {eval("passkey", {"--context", "128", "--value-tokens", "9999"}), "--task passkey"},
      {eval("multikey", {"--context", "128", "--key-tokens", "0"}), "--key-tokens"},
      {eval("multikey", {"--context", "128", "--distractors", "9999"}), "--task multikey"},
      {eval("multihop", {"--context", "128", "--hops", "0"}), "--hops"},
      {eval("multihop", {"--context", "128", "--hops", "999999999999"}), "--hops"},
      {eval("recall", {"--context", "128", "--passage-chunks", "0"}), "--passage-chunks"},
      {eval("recall", {"--context", "128", "--passage-chunks", "1M"}), "--task recall"},
      {eval("recall", {"--context", "128", "--passage-chunks", "999999999999"}), "--passage-chunks"},
      {eval("passkey", {"--context", "128", "--max-tokens", "1K"}), "--max-tokens"},
      {eval("passkey", {"--context", "128", "--memory", "disk"}), "--memory disk"},
      {eval("passkey", {"--context", "128", "--memory", "file:"}), "--memory file:"},
      {eval("passkey", {"--context", "128", "--memory", "file:" + (shop / "precious")}), shop / "precious"},
      {eval("passkey", {"--context", "128", "--memory", "file:/proc/none/x"}), "/proc/none/x"},
      {eval("passkey", {"--context", "128", "--memory-dtype", "fp64"}), "--memory-dtype"},
      {eval("passkey", {"--context", "128", "--weight-dtype", "int4"}), "{auto,int8}"},
      {eval("passkey", {"--context", "128", "--weight-dtype", "int8", "--device", "cuda"}),
       "--weight-dtype int8"},
      {with(shop.pretrain(), {"--weight-dtype", "int8"}), "--weight-dtype"},
      {eval("passkey", {"--context", "128", "--split", "train"}), "--split"},
      {eval("passkeys", {"--context", "128"}), "--task"},
      {eval("perplexity", {}), "--trials"},
      {with(shop.eval(shop.tokens()), {"--hops", "3"}), "--hops"},
      {with(shop.eval(shop.tokens()), {"--full-prefill"}), "--full-prefill"},
      {with(shop.eval(shop.tokens()), {"--memory", "disk"}), "--memory disk"},
      {with(shop.eval(shop.tokens()), {"--memory", "file:" + (shop / "precious")}), shop / "precious"},
  };
  for (const Row& row : table) check_refused(row.words, row.name);
  CHECK(difference(before, image_of(shop.folder())) == "");
}

TEST_CASE("outputs that cannot be written are told, and nothing is lost" * doctest::test_suite("slow")) {
  const Workshop shop;
  gca::testing::write_file(shop / "file", "precious");
  fs::create_directory(shop / "full");
  gca::testing::write_file(shop / "full/notes.txt", "precious");
  const FolderImage before = image_of(shop.folder());
  const auto tokenize = [&](const std::string& output) {
    return Words{"tokenize", shop.book(), "--tokenizer", shop.tokens() + "/tokenizer.model",
                 "--output", output};
  };
  // In the way: a file, a folder of somebody else; /proc, where nobody may write.
  for (const std::string& output :
       {shop / "file", shop / "file/below", shop / "full", std::string("/proc/gca")}) {
    CAPTURE(output);
    const std::string name =
        output.starts_with("/proc") ? "/proc" : shop / (output.ends_with("full") ? "full" : "file");
    const auto status_of = [&](const Words& words) {
      const ProcessResult result = run_gca(words);
      CAPTURE(result.err);
      CHECK((result.status == 2 || result.status == 1));
      CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
      CHECK(result.err.find(name) != std::string::npos);
      CHECK(result.err.find("internal error") == std::string::npos);
    };
    status_of(tokenize(output));
    status_of({"chunk", "--tokens", shop.tokens(), "--output", output, "--chunk-size", "16"});
    status_of({"generate", "--checkpoint", shop.checkpoint(), "--prompt", "a", "--max-new-tokens", "1",
               "--quiet", "--json", "--save-memory", output});
    if (output != shop / "full") {
      status_of(with(shop.pretrain(), {"--report", "/dev/null"}).size() > 0
                    ? Words{"pretrain", "--data", shop.sequences(), "--config", "nano", "--set",
                            "context=256", "--steps", "1", "--output", output}
                    : Words{});
      status_of(with(shop.chunk(), {"--report", output + "/report.json"}));
      fs::remove_all(shop / "new");
    }
  }
  check_refused({"inspect-retrieval", "--checkpoint", shop.checkpoint(), "--prompt", "a", "--html",
                 "/proc/gca/page.html"},
                "/proc/gca/page.html");
  CHECK(difference(before, image_of(shop.folder())) == "");

  const ProcessResult full = run_gca({"eval", "--checkpoint", shop.checkpoint(), shop.book(), "--max-tokens",
                                      "64", "--quiet", "--report", "/dev/full"});
  CHECK(full.status == 1);
  CHECK(full.err.find("/dev/full: cannot write: No space left on device") != std::string::npos);
}

TEST_CASE("files that somebody else may not read or write (as another user, where this one is root)") {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms(0755));
  gca::testing::write_file(folder / "secret.txt", "text");
  fs::permissions(folder / "secret.txt", fs::perms::none);
  Words as_nobody;
  if (geteuid() == 0) {
    as_nobody = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    const ProcessResult can_run = run_program(with(as_nobody, {GCA_BINARY, "--version"}));
    if (can_run.status != 0) {
      MESSAGE("skipped: another user cannot run " << GCA_BINARY << ": " << can_run.err);
      return;
    }
  }
  const auto refused = [&](const Words& words, const std::string& name) {
    const ProcessResult result = run_program(with(as_nobody, with({GCA_BINARY}, words)));
    CAPTURE(result.err);
    CHECK((result.status == 1 || result.status == 2));
    CHECK(result.err.find(name) != std::string::npos);
    CHECK(result.err.find("Permission denied") != std::string::npos);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  };
  fs::create_directory(folder / "free");
  fs::permissions(folder / "free", fs::perms(0777));
  refused({"tokenize", folder / "secret.txt", "--train-vocab", "300", "--output", folder / "free/new"},
          "secret.txt");
  fs::create_directory(folder / "locked");
  fs::permissions(folder / "locked", fs::perms(0555));
  gca::testing::write_file(folder / "open.txt", NanoRun::pages(0, 50));
  fs::permissions(folder / "open.txt", fs::perms(0644));
  refused({"tokenize", folder / "open.txt", "--train-vocab", "300", "--output", folder / "locked/new"},
          "locked");
  CHECK(!fs::exists(folder / "new"));
  CHECK(fs::is_empty(folder / "locked"));
  CHECK(gca::read_file(folder / "open.txt") == NanoRun::pages(0, 50));
}

TEST_CASE("a reader that leaves ends generate quietly, texts that are missing or empty are refused") {
  const Workshop shop;
  const std::string pipeline =
      "(\"$0\" generate --checkpoint \"$1\" --prompt On --max-new-tokens 400 --threads 1; echo $? >\"$2\") | "
      "head -c 1";
  const ProcessResult piped =
      run_program({"sh", "-c", pipeline, GCA_BINARY, shop.checkpoint(), shop / "status"});
  CHECK(piped.err == "");
  CHECK(gca::read_file(shop / "status") == "0\n");

  check_refused({"generate", "--checkpoint", shop.checkpoint(), "--prompt-file", shop / "none.txt"},
                "none.txt");
  gca::testing::write_file(shop / "empty.txt", "");
  check_refused({"generate", "--checkpoint", shop.checkpoint(), "--prompt-file", shop / "empty.txt"},
                "empty.txt");
  check_refused({"generate", "--checkpoint", shop.checkpoint(), "--prompt-file", shop.tokens()},
                shop.tokens());
  check_refused({"eval", "--checkpoint", shop.checkpoint(), shop / "none.txt"}, "none.txt");
  check_refused({"eval", "--checkpoint", shop.checkpoint(), shop / "empty.txt"}, "INPUT");
  check_refused({"eval", "--checkpoint", shop / "none", shop.book()}, shop / "none");
  check_refused({"tokenize", shop.book(), "--tokenizer", shop.book(), "--output", shop / "new"}, shop.book());
  check_refused({"tokenize", shop / "empty.txt", "--train-vocab", "300", "--output", shop / "new"},
                "--train-vocab");
  CHECK(!fs::exists(shop / "new"));
}
