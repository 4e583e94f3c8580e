#include <doctest/doctest.h>

#include <filesystem>

#include "lib/core/files/atomic_file.h"
#include "tests/support/error_of.h"
#include "tests/support/read_documents.h"
#include "tests/support/temporary_folder.h"

using namespace gca;
using namespace std::string_literals;

namespace {

/// `lines` as a file, read.
ReadDocuments read_lines(const std::string& lines, const text::SourceOptions& options = {}) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a.jsonl", lines);
  return read_documents({folder / "a.jsonl"}, options);
}

std::string refusal(const std::string& lines, const text::SourceOptions& options = {}) {
  const auto error = error_of([&] { read_lines(lines, options); });
  REQUIRE(error);
  CHECK(error->is_usage());
  return error->message.substr(error->message.find("a.jsonl"));
}

}  // namespace

TEST_CASE("lines that Python's json wrote give the texts that it was given") {
  const TemporaryFolder folder;
  run_python(R"(
import json, pathlib, random, subprocess, sys
random.seed(3)
folder = pathlib.Path(sys.argv[1])
characters = ['a', ' ', '\n', '\r\n', '\t', '"', '\\', '/', '\0', '\x1f', '\x7f', '\u00e9', '\u2028', '\u20ac', '\U0001F642', '\ufffd']
texts = [''.join(random.choice(characters) for _ in range(random.randrange(60))) for _ in range(400)]
texts += ['', ' ', '\n', 'x' * 200000, '\U0001F642' * 70000]
for number, text in enumerate(texts):
    (folder / f'{number:03}').write_bytes(text.encode())
def lines(ascii, separators, end):
    for number, text in enumerate(texts):
        before = {'id': number, 'meta': {'text': 'another', 'list': [1, [2.5e3, None, {'text': 1}], True]}}
        after = {'Text': 'no', '': '', 'x': -1}
        yield json.dumps({**before, 'text': text, **after}, ensure_ascii=ascii, separators=separators) + end
(folder / 'ascii.jsonl').write_bytes(''.join(lines(True, None, '\n')).encode())
(folder / 'utf8.jsonl').write_bytes(''.join(lines(False, (',', ':'), '\r\n')).encode())
(folder / 'blank.jsonl').write_bytes((' \n\n' + '\n \t\r\n'.join(lines(True, (' , ', ' :\t'), '\n')).rstrip('\n')).encode())
for name in 'ascii', 'utf8', 'blank':
    subprocess.run(['gzip', '-k', folder / (name + '.jsonl')], check=True)
    subprocess.run(['zstd', '-q', folder / (name + '.jsonl')], check=True))",
             folder.path());
  std::vector<std::string> texts;
  for (int number = 0; number < 405; ++number) {
    const std::string digits = std::to_string(number);
    texts.push_back(read_file(folder / (std::string(3 - digits.size(), '0') + digits)));
  }
  for (const char* name : {"ascii", "utf8", "blank"})
    for (const char* extension : {".jsonl", ".jsonl.gz", ".jsonl.zst"}) {
      CAPTURE(name);
      CAPTURE(extension);
      CHECK((read_documents({folder / (name + ""s + extension)}, {}, 1000).texts() == texts));
    }
}

TEST_CASE("broken lines are refused by file and line, with what is wrong") {
  const std::string good = "{\"text\": \"x\"}\n\n";
  struct Row {
    std::string line, message;
  };
  const std::vector<Row> table = {
      {"{\"text\": \"x\"", "ends within a JSON value"},
      {"{", "ends within a JSON value"},
      {"{\"text\": tru}", "is not valid JSON, at byte 13"},
      {"{\"text\": \"x\"} {\"text\": \"y\"}", "is not valid JSON, at byte 15"},
      {"{\"text\": \"x\",}", "is not valid JSON, at byte 14"},
      {"{\"text\": \"\\ud800\"}", "is not valid JSON, at byte"},
      {"{\"text\": \"a\tb\"}", "is not valid JSON, at byte"},
      {"text", "is not valid JSON, at byte"},
      {"\0"s, "is not valid JSON, at byte 1"},
      {"[{\"text\": \"x\"}]", "is a JSON array; write one object a line"},
      {"\"text\"", "is not a JSON object"},
      {"1", "is not a JSON object"},
      {"null", "is not a JSON object"},
      {"{}", "has no key \"text\"; name the key of the text with --text-key"},
      {"{\"Text\": \"x\"}", "has no key \"text\""},
      {"{\"a\": {\"text\": \"x\"}}", "has no key \"text\""},
      {"{\"text\": null}", "has a \"text\" that is not a string"},
      {"{\"text\": 1}", "has a \"text\" that is not a string"},
      {"{\"text\": [\"x\"]}", "has a \"text\" that is not a string"},
      {"{\"text\": {\"text\": \"x\"}}", "has a \"text\" that is not a string"},
      {"{\"text\": \"x\", \"text\": 1}", "has a \"text\" that is not a string"},
      {"{\"text\": \"caf\xE9\"}", "holds the byte 0xE9, which is not valid UTF-8; convert"},
      {"{\"a\": \"\xED\xA0\x80\", \"text\": \"x\"}", "holds the byte 0xED, which is not valid UTF-8"},
  };
  for (const Row& row : table) {
    CAPTURE(row.line);
    CHECK(refusal(good + row.line).starts_with("a.jsonl:3: " + row.message));
    CHECK(refusal(good + row.line + "\n" + good).starts_with("a.jsonl:3: " + row.message));
    const ReadDocuments read = read_lines(good + row.line + "\n" + good, {.skip_bad = true});
    CHECK(read.texts() == std::vector{"x"s, "x"s});
    CHECK(read.counts.at(0).skipped_lines == 1);
    CHECK(read.counts[0].first_skipped_line.find(
              "a.jsonl:3: " + row.message.substr(0, row.message.find(';'))) != std::string::npos);
  }
}

TEST_CASE("of a key that comes twice the last value is taken, and the key can be chosen") {
  CHECK(read_lines("{\"text\": 1, \"text\": \"a\", \"text\": \"b\"}").texts() == std::vector{"b"s});
  CHECK(read_lines("{\"text\": \"a\", \"content\": \"b\"}", {.text_key = "content"}).texts() ==
        std::vector{"b"s});
  CHECK(read_lines("{\"\": \"a\"}", {.text_key = ""}).texts() == std::vector{"a"s});
  CHECK(refusal("{\"text\": \"a\"}", {.text_key = "content"}).find("has no key \"content\"") !=
        std::string::npos);
}

TEST_CASE("invalid UTF-8 in a line is replaced where that is asked for") {
  const ReadDocuments read = read_lines("{\"text\": \"caf\xE9\"}\n{\"text\": \"\xE2\x82\"}",
                                        {.invalid_utf8 = text::InvalidUtf8::replace});
  CHECK(read.texts() == std::vector{"caf\xEF\xBF\xBD"s, "\xEF\xBF\xBD"s});
  CHECK(read.counts.at(0).replaced_sequences == 2);
  CHECK(refusal("{\"text\": \"caf\xE9\"}", {.invalid_utf8 = text::InvalidUtf8::keep}).find("0xE9") !=
        std::string::npos);
}

TEST_CASE("nesting without end and a line beyond the limit are errors, the next line is read") {
  const std::string deep(1 << 20, '[');
  CHECK(refusal("{\"a\": " + deep).starts_with("a.jsonl:1: ends within"));
  CHECK(read_lines("{\"a\": " + deep + std::string(1 << 20, ']') + ", \"text\": \"x\"}").texts() ==
        std::vector{"x"s});
  const TemporaryFolder folder;
  run_shell("cd " + folder.path() +
            " && { printf '{\"text\": \"'; head -c 256M /dev/zero | tr '\\0' a; printf '\"}\\n{\"text\": " +
            "\"x\"}\\n'; } | zstd -q -1 > long.jsonl.zst");
  const auto error = error_of([&] { read_documents({folder / "long.jsonl.zst"}); });
  REQUIRE(error);
  CHECK(error->says("long.jsonl.zst:1: is longer than 256 MiB"));
  const ReadDocuments read = read_documents({folder / "long.jsonl.zst"}, {.skip_bad = true});
  CHECK(read.texts() == std::vector{"x"s});
  CHECK(read.documents.at(0).name.ends_with(":2"));
  CHECK(read.counts.at(0).skipped_lines == 1);
}
