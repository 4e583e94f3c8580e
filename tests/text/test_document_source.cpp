#include "lib/text/sources/document_source.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "lib/core/files/atomic_file.h"
#include "tests/support/error_of.h"
#include "tests/support/read_documents.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/write_file.h"

using namespace gca;
using namespace std::string_literals;

namespace {

std::string book() {
  return read_file(std::string(GCA_SOURCE_DIR) + "/examples/books/train/alices-adventures-in-wonderland.txt");
}

std::optional<CaughtError> refusal(const std::string& path, const text::SourceOptions& options = {}) {
  return error_of([&] { read_documents({path}, options); });
}

}  // namespace

TEST_CASE("a file is one document, as it is or compressed by gzip or zstd, read in pieces of any size") {
  const TemporaryFolder folder;
  const std::string path = folder / "book.txt";
  testing::write_file(path, book());
  run_shell("cd " + folder.path() +
            " && gzip -k book.txt && zstd -q book.txt && zstd -q --ultra -22 book.txt -o best.zst" +
            " && cat book.txt.gz > unnamed");
  for (const char* name : {"book.txt", "book.txt.gz", "book.txt.zst", "best.zst", "unnamed"})
    for (const size_t piece_bytes : {size_t{1000}, size_t{1} << 20}) {
      CAPTURE(name);
      const ReadDocuments read = read_documents({folder / name}, {}, piece_bytes);
      CHECK(read.texts() == std::vector{book()});
      CHECK(read.documents.at(0).name == folder / name);
      CHECK(read.counts.at(0).documents == 1);
      CHECK(read.counts.at(0).bytes == static_cast<int64_t>(book().size()));
    }
}

TEST_CASE("members of gzip and frames of zstd that follow each other are one file, padding is none of it") {
  const TemporaryFolder folder;
  testing::write_file(folder / "a", "first\n");
  testing::write_file(folder / "b", "");
  testing::write_file(folder / "c", book());
  run_shell(
      "cd " + folder.path() +
      " && for f in a b c; do gzip -c $f; done > all.gz && for f in a b c; do zstd -qc $f; done > all.zst" +
      " && cat all.gz - < /dev/zero | head -c $(($(stat -c %s all.gz) + 1000)) > padded.gz" +
      " && cat a b c | pzstd -q -p 2 -c > parallel.zst");
  for (const char* name : {"all.gz", "padded.gz", "all.zst", "parallel.zst"}) {
    CAPTURE(name);
    CHECK(read_documents({folder / name}).texts() == std::vector{"first\n" + book()});
  }
}

TEST_CASE("empty files") {
  const TemporaryFolder folder;
  testing::write_file(folder / "a.txt", "");
  testing::write_file(folder / "a.jsonl", "");
  run_shell("cd " + folder.path() +
            " && gzip -k a.txt && zstd -q a.txt && gzip -k a.jsonl && : > cut.txt.gz");
  for (const char* name : {"a.txt", "a.txt.gz", "a.txt.zst"})
    CHECK(read_documents({folder / name}).texts() == std::vector{""s});
  for (const char* name : {"a.jsonl", "a.jsonl.gz"}) CHECK(read_documents({folder / name}).texts().empty());
  CHECK(refusal(folder / "cut.txt.gz")->says("cut.txt.gz: is named *.gz and is empty"));
}

TEST_CASE("a compressed file that is truncated anywhere is refused by name") {
  const TemporaryFolder folder;
  testing::write_file(folder / "a.txt", book().substr(0, 20000));
  run_shell("cd " + folder.path() + " && gzip -k a.txt && zstd -q a.txt");
  for (const std::string name : {"a.txt.gz", "a.txt.zst"}) {
    const std::string whole = read_file(folder / name);
    for (size_t size = 0; size < whole.size(); size += size < 40 || size + 40 > whole.size() ? 1 : 97) {
      CAPTURE(size);
      testing::write_file(folder / name, whole.substr(0, size));
      const auto error = refusal(folder / name);
      REQUIRE(error);
      CHECK(error->is_usage());
      CHECK(error->says(name));
    }
  }
}

TEST_CASE("a compressed file with a flipped bit is refused, or gives what was compressed") {
  const TemporaryFolder folder;
  const std::string text = book().substr(0, 3000);
  testing::write_file(folder / "a.txt", text);
  run_shell("cd " + folder.path() + " && gzip -k a.txt && zstd -q a.txt");
  for (const std::string name : {"a.txt.gz", "a.txt.zst"}) {
    const std::string whole = read_file(folder / name);
    int refused = 0;
    for (size_t at = 0; at < whole.size(); ++at) {
      CAPTURE(at);
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
      testing::write_file(folder / name, damaged);
      std::vector<std::string> texts;
      const auto error = error_of([&] { texts = read_documents({folder / name}).texts(); });
      if (!error) {  // in the header: time, name, system
        CHECK(texts == std::vector{text});
        continue;
      }
      ++refused;
      CHECK(error->is_usage());
      CHECK(error->says(name));
    }
    CHECK(refused > static_cast<int>(whole.size()) - 20);
  }
}

TEST_CASE("what follows compressed data, and what is not what its name tells, is refused") {
  const TemporaryFolder folder;
  testing::write_file(folder / "a.txt", "text");
  run_shell("cd " + folder.path() +
            " && gzip -k a.txt && zstd -q a.txt && echo more >> a.txt.gz && echo more >> a.txt.zst");
  CHECK(refusal(folder / "a.txt.gz")->says("a.txt.gz: has other bytes after its gzip data"));
  CHECK(refusal(folder / "a.txt.zst")->says("a.txt.zst: is a"));
  testing::write_file(folder / "b.txt.gz", "text");
  CHECK(refusal(folder / "b.txt.gz")->says("b.txt.gz: is named *.gz and is not gzip"));
  run_shell("cd " + folder.path() +
            " && head -c 3000000 /dev/zero | zstd -q --long=31 --ultra -22 > wide.zst");
  if (const auto error = refusal(folder / "wide.zst")) CHECK(error->says("window"));
}

TEST_CASE("formats that are known and not read are named") {
  const TemporaryFolder folder;
  run_python(R"(
import bz2, io, lzma, sys, tarfile, zipfile
text = b'one two three\n' * 100
folder = sys.argv[1] + '/'
open(folder + 'a.xz', 'wb').write(lzma.compress(text))
open(folder + 'a.bz2', 'wb').write(bz2.compress(text))
with zipfile.ZipFile(folder + 'a.zip', 'w') as archive: archive.writestr('a.txt', text)
open(folder + 'a.txt', 'wb').write(text)
with tarfile.open(folder + 'a.tar.gz', 'w:gz') as archive: archive.add(folder + 'a.txt', 'a.txt')
open(folder + 'a.pdf', 'wb').write(b'%PDF-1.7\n')
open(folder + 'a.parquet', 'wb').write(b'PAR1\x15\x04\x15'))",
             folder.path());
  for (const auto& [name, format] : {std::pair{"a.xz", "is xz"},
                                     {"a.bz2", "is bzip2"},
                                     {"a.zip", "is a zip archive"},
                                     {"a.tar.gz", "is a tar archive"},
                                     {"a.pdf", "is PDF"},
                                     {"a.parquet", "is Parquet"}}) {
    const auto error = refusal(folder / name);
    REQUIRE(error);
    CHECK(error->is_usage());
    CHECK(error->says(name + ": "s + format));
  }
}

TEST_CASE("UTF-8's byte-order mark is dropped, other encodings are refused by name") {
  const TemporaryFolder folder;
  run_python(R"(
import json, sys
folder = sys.argv[1] + '/'
for name, encoding in ('mark', 'utf-8-sig'), ('wide', 'utf-16'), ('big', 'utf-16-be'), ('wider', 'utf-32'):
    text = ('\ufeff' if encoding == 'utf-16-be' else '') + 'na\u00efve\n'
    open(folder + name + '.txt', 'wb').write(text.encode(encoding))
open(folder + 'mark.jsonl', 'w', encoding='utf-8-sig').write(json.dumps({'text': '\ufeffone'}) + '\n'))",
             folder.path());
  CHECK(read_documents({folder / "mark.txt"}).texts() == std::vector{"na\xC3\xAFve\n"s});
  // Within a text the character is one like any other.
  CHECK(read_documents({folder / "mark.jsonl"}).texts() == std::vector{"\xEF\xBB\xBFone"s});
  for (const text::InvalidUtf8 how :
       {text::InvalidUtf8::error, text::InvalidUtf8::replace, text::InvalidUtf8::keep}) {
    CHECK(refusal(folder / "wide.txt", {.invalid_utf8 = how})
              ->says("wide.txt: is UTF-16 text; convert it: iconv"));
    CHECK(refusal(folder / "big.txt", {.invalid_utf8 = how})->says("big.txt: is UTF-16 text"));
    CHECK(refusal(folder / "wider.txt", {.invalid_utf8 = how})->says("wider.txt: is UTF-32 text"));
  }
}

TEST_CASE("invalid UTF-8 is refused with its line, replaced as Python does, or kept") {
  const TemporaryFolder folder;
  // Every kind of damage, also where a buffer of the reader ends.
  run_python(R"(
import random, sys
random.seed(5)
pieces = [b'a', b'\n', '\u00e9'.encode(), '\u20ac'.encode(), '\U0001F642'.encode(), b'\xff', b'\xe2\x82', b'\xf0\x9f\x99',
          b'\xed\xa0\x80', b'\xc0\xaf', b'\xf4\x90\x80\x80', b'\x80', b'\xc3', b'\xe0\x80\x80']
damaged = b''.join(random.choice(pieces) for _ in range(60000))
for name, data in ('many', damaged), ('end', b'x' * 65535 + b'\xe2\x82'), ('border', b'x' * 65535 + '\u20ac'.encode() * 2):
    open(sys.argv[1] + '/' + name, 'wb').write(data)
    open(sys.argv[1] + '/' + name + '.replaced', 'w', newline='').write(data.decode('utf-8', 'replace')))",
             folder.path());
  for (const std::string name : {"many", "end", "border"}) {
    CAPTURE(name);
    const std::string data = read_file(folder / name), replaced = read_file(folder / (name + ".replaced"));
    const ReadDocuments read = read_documents({folder / name}, {.invalid_utf8 = text::InvalidUtf8::replace});
    CHECK((read.texts() == std::vector{replaced}));
    CHECK((read_documents({folder / name}, {.invalid_utf8 = text::InvalidUtf8::keep}).texts() ==
           std::vector{data}));
    CHECK((refusal(folder / name).has_value() == (data != replaced)));
    CHECK((read.counts.at(0).replaced_sequences > 0) == (data != replaced));
  }
  testing::write_file(folder / "latin.txt", "one\ntwo\ncaf\xE9\n");
  CHECK(refusal(folder / "latin.txt")
            ->says("latin.txt:3: holds the byte 0xE9, which is not valid UTF-8; convert"));
}

TEST_CASE("the format comes from the flag, else from the name, else from the content") {
  const TemporaryFolder folder;
  const std::string line = "{\"text\": \"one\"}\n";
  const auto is_lines = [&](const std::string& name, const std::string& content,
                            const std::string& format = "auto") {
    testing::write_file(folder / name, content);
    return read_documents({folder / name}, {.format = format}).texts() == std::vector{"one"s};
  };
  for (const char* name : {"a.jsonl", "a.ndjson", "a.json", "a", "a.log"}) CHECK(is_lines(name, line));
  CHECK(is_lines("a", "\n \t{ \r\"text\" : \"one\"}\n"));
  for (const char* name : {"a.txt", "a.md", "a.tex"}) CHECK_FALSE(is_lines(name, line));
  CHECK(is_lines("a.txt", line, "jsonl"));
  CHECK_FALSE(is_lines("a.jsonl", line, "text"));
  for (const char* text : {"{one}", "[one]", "{\\rm one}", "[{one}]", "", "{"})
    CHECK_FALSE(is_lines("a", text));
  CHECK(error_of([&] { text::DocumentSource({}, {.format = "xml"}); })->says("--input-format xml"));
}

TEST_CASE("a file that is cut short while it is read is an error, one without a size is read to its end") {
  const TemporaryFolder folder;
  const std::string path = folder / "log.txt";
  testing::write_file(path, std::string(1 << 20, 'x'));
  text::DocumentSource source(text::list_input_files(std::vector{path}), {});
  REQUIRE(source.next());
  CHECK_FALSE(source.read(1000).empty());
  std::filesystem::resize_file(path, 1000);
  const auto error = error_of([&] {
    while (!source.read(1 << 16).empty()) continue;
  });
  REQUIRE(error);
  CHECK(error->kind == ErrorKind::failed);
  CHECK(error->says("log.txt: was cut short while it was read"));
  CHECK(read_documents({"/proc/self/status"}).texts().at(0).find("VmPeak") != std::string::npos);
}

TEST_CASE("counts are those of each input, names those of files and lines") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  testing::write_file(folder / "sub/a.txt", "four");
  testing::write_file(folder / "sub/b.jsonl", "{\"text\": \"x\"}\n\nnone\n{\"text\": \"yz\"}");
  testing::write_file(folder / "c.txt", "");
  const ReadDocuments read = read_documents({folder / "sub", folder / "c.txt"}, {.skip_bad = true});
  CHECK(read.texts() == std::vector{"four"s, "x"s, "yz"s, ""s});
  std::vector<std::string> names;
  for (const ReadDocument& document : read.documents) names.push_back(document.name);
  CHECK(names == std::vector{folder / "sub/a.txt", folder / "sub/b.jsonl:1", folder / "sub/b.jsonl:4",
                             folder / "c.txt"});
  CHECK(read.counts.at(0).input == folder / "sub");
  CHECK(read.counts[0].files == 2);
  CHECK(read.counts[0].documents == 3);
  CHECK(read.counts[0].bytes == 7);
  CHECK(read.counts[0].skipped_lines == 1);
  CHECK(read.counts[0].first_skipped_line.find("b.jsonl:3: is not valid JSON") != std::string::npos);
  CHECK(read.counts.at(1).documents == 1);
  CHECK(read.counts[1].skipped_lines == 0);
}

TEST_CASE("missing files and folders in their place are refused by name") {
  const TemporaryFolder folder;
  testing::write_file(folder / "a.txt", "x");
  const text::InputFiles files = text::list_input_files(std::vector{folder / "a.txt"});
  std::filesystem::remove(folder / "a.txt");
  CHECK(
      error_of([&] { text::DocumentSource(files, {}).next(); })->says("a.txt: cannot be read (No such file"));
  std::filesystem::create_directory(folder / "a.txt");
  const auto error = error_of([&] { text::DocumentSource(files, {}).next(); });
  REQUIRE(error);
  CHECK(error->is_usage());
  CHECK(error->says("a.txt: cannot be read (Is a directory"));
}
