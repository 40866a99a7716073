#!/usr/bin/env python3
"""Writes the queries of the text cases as seeds, a file each, and the words of the language as a dictionary: seeds.py CASES OUT"""
import hashlib
import pathlib
import re
import sys

cases, out = map(pathlib.Path, sys.argv[1:3])
out.mkdir(parents=True, exist_ok=True)
words = set()
for path in sorted(cases.rglob("*.case")):
    for block in re.split(r"^case ", path.read_text(), flags=re.M)[1:]:
        lines = block.split("\n")[1:]
        while lines and re.match(r"(source|pending|option|parameter)s?:", lines[0]):
            lines.pop(0)
        for request in re.split(r"^;;$", re.split(r"^----", "\n".join(lines), flags=re.M)[0], flags=re.M):
            request = request.strip()
            words.update(re.findall(r"[A-Za-z_][A-Za-z_0-9-]{1,24}", request))
            (out / hashlib.sha1(request.encode()).hexdigest()[:16]).write_text(request)
(out.parent / "words.dict").write_text("".join(f'"{word}"\n' for word in sorted(words)))
