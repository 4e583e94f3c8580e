"""validate_json.py SCHEMA: what is wrong with the JSON on standard input, one line each."""

import json
import pathlib
import sys

import jsonschema

path = pathlib.Path(sys.argv[1]).resolve()
schema = json.loads(path.read_text())
jsonschema.Draft202012Validator.check_schema(schema)
# "$ref" may name another file of the folder.
resolver = jsonschema.RefResolver(path.as_uri(), schema)
validator = jsonschema.Draft202012Validator(schema, resolver=resolver)
for error in validator.iter_errors(json.load(sys.stdin)):
    # Of several alternatives, the one that fits best says what is wrong.
    best = jsonschema.exceptions.best_match([error])
    print("/" + "/".join(map(str, best.absolute_path)) + ": " + best.message.replace("\n", " "))
