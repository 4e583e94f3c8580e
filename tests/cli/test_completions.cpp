// What the shells themselves propose with the committed completion scripts.

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "tests/support/run_gca.h"
#include "tests/support/skip.h"

namespace {

const std::string kScripts = std::string(GCA_SOURCE_DIR) + "/completions/";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// What bash proposes for the last of `words`.
std::vector<std::string> bash_proposals(const std::vector<std::string>& words) {
  const std::string driver =
      "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _gca; printf '%s\\n' \"${COMPREPLY[@]}\"";
  std::vector<std::string> command = {"bash", "--norc", "-c", driver, kScripts + "gca.bash"};
  command.insert(command.end(), words.begin(), words.end());
  const ProcessResult result = run_program(command);
  CHECK(result.err == "");
  return lines_of(result.out);
}

/// What fish proposes at the end of `line`, without descriptions.
std::vector<std::string> fish_proposals(const std::string& line) {
  const ProcessResult result = run_program(
      {"fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", kScripts + "gca.fish", line});
  CHECK(result.err == "");
  std::vector<std::string> words = lines_of(result.out);
  for (std::string& word : words) word = word.substr(0, word.find('\t'));
  return words;
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("bash completes subcommands, flags, choices, presets, settings and files") {
  CHECK(bash_proposals({"gca", "pre"}) == Words{"pretrain"});
  CHECK(bash_proposals({"gca", "pretrain", "--res"}) == Words{"--resume"});
  CHECK(bash_proposals({"gca", "pretrain", "--quiet", "--task", "s"}) == Words{"self-copy"});
  CHECK(bash_proposals({"gca", "eval", "--retriever", "learned,re"}) == Words{"learned,recent"});
  CHECK(has(bash_proposals({"gca", "pretrain", "--config", "sm"}), "small"));
  CHECK(bash_proposals({"gca", "pretrain", "--config", "=", "128"}) == Words{"128m"});
  CHECK(bash_proposals({"gca", "pretrain", "--set", "retrieval_g"}) == Words{"retrieval_groups="});
  CHECK(has(bash_proposals({"gca", "help", ""}), "inspect-retrieval"));

  const TemporaryFolder folder;
  gca::write_file_atomically(folder / "book.txt", "x");
  CHECK(bash_proposals({"gca", "generate", "--prompt-file", folder / "bo"}) == Words{folder / "book.txt"});
  CHECK(bash_proposals({"gca", "tokenize", folder / "bo"}) == Words{folder / "book.txt"});
  CHECK(!has(bash_proposals({"gca", "chunk", "--tokens", folder / "bo"}), folder / "book.txt"));
}

TEST_CASE("fish completes subcommands, flags, choices, presets, settings and files") {
  CHECK(fish_proposals("gca pre") == Words{"pretrain"});
  CHECK(fish_proposals("gca pretrain --res") == Words{"--resume"});
  CHECK(fish_proposals("gca pretrain --task s") == Words{"self-copy"});
  CHECK(has(fish_proposals("gca eval --retriever learned,re"), "learned,recent"));
  CHECK(has(fish_proposals("gca pretrain --config sm"), "small"));
  CHECK(has(fish_proposals("gca pretrain --set retrieval_g"), "retrieval_groups="));

  const TemporaryFolder folder;
  gca::write_file_atomically(folder / "book.txt", "x");
  CHECK(fish_proposals("gca generate --prompt-file " + (folder / "bo")) == Words{folder / "book.txt"});
}

TEST_CASE("zsh completes subcommands, flags, presets and settings") {
  // zsh completes in its line editor only: in a pseudo-terminal, a key completes the line and prints it. A
  // bare chroot may have none (no /dev/pts).
  if (run_program({"zsh", "-f", "-c", "exit 0"}).status != 0) FAIL("zsh is not installed");
  if (run_program({"zsh", "-f", "-c", "zmodload zsh/zpty && zpty shell true"}).status != 0)
    SKIP_TEST("no pseudo-terminal here: zsh was not asked");
  const std::string driver = R"sh(
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell "fpath=($1 \$fpath); autoload -Uz compinit; compinit -D"
    zpty -w shell 'show() { zle expand-or-complete; print -r -- "<<$BUFFER>>" }; zle -N show; bindkey ^X show'
    zpty -w shell 'print RE""ADY'
    zpty -r -m shell text '*READY*'
    zpty -n -w shell $2$'\x18'
    zpty -r -m shell text '*<<*>>*'
    print -r -- ${${text##*<<}%%>>*}
    zpty -d shell)sh";
  const auto completed = [&](const std::string& line) {
    return run_program({"timeout", "60", "zsh", "-f", "-c", driver, "zsh", kScripts, line}).out;
  };
  CHECK(completed("gca pretr") == "gca pretrain \n");
  CHECK(completed("gca pretrain --resu") == "gca pretrain --resume \n");
  CHECK(completed("gca pretrain --config 128") == "gca pretrain --config 128m \n");
  CHECK(completed("gca pretrain --set retrieval_gr") == "gca pretrain --set retrieval_groups=\n");
  CHECK(completed("gca pretrain --task s") == "gca pretrain --task self-copy \n");
}
