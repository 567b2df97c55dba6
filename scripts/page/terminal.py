#!/usr/bin/env python3
"""Draws what shvplan prints on a terminal, colours and all, as docs/images/terminal.svg.

    terminal.py SHVPLAN            writes it
    terminal.py SHVPLAN --check    exit 1 where it is out of date
"""

import os
import pty
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parents[2] / "docs/images/terminal.svg"
WORDS = ["--model", "30b", "--quant", "int8"]
CELL_WIDTH, LINE_HEIGHT, LEFT, TOP = 8.4, 19, 20, 58
COLUMNS = 80
# SGR codes that shvplan writes, as classes below.
STYLES = {"31": "r", "32": "g", "33": "y", "34": "b", "35": "m", "36": "c", "90": "d", "1": "s", "2": "d"}


def on_terminal(program):
    """Standard output of the program where that is a terminal."""
    parts = []

    def read(fd):
        data = os.read(fd, 1 << 16)
        parts.append(data)
        return b"."

    sys.stdout.flush()
    shown, quiet = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    try:
        environment = {"TERM": "xterm-256color", "PATH": os.environ.get("PATH", "")}
        pty.spawn(["env", "-i", *(f"{key}={value}" for key, value in environment.items()), program, *WORDS], read, lambda fd: b"")
    finally:
        os.dup2(shown, 1)
    return b"".join(parts).decode().replace("\r\n", "\n")


def runs(line):
    """A line as pairs of classes and text."""
    classes, found, at = [], [], 0
    for match in re.finditer(r"\x1b\[([\d;]*)m", line):
        if match.start() > at:
            found.append((" ".join(classes), line[at:match.start()]))
        codes = [code for code in match[1].split(";") if code not in ("", "0")]
        unknown = [code for code in codes if code not in STYLES]
        if unknown:
            sys.exit(f"no style for code {unknown[0]} in {line!r}")
        classes, at = [STYLES[code] for code in codes], match.end()
    return found + [(" ".join(classes), line[at:])]


def drawn(program):
    lines = [f"\x1b[2m$\x1b[0m shvplan {' '.join(WORDS)}", *on_terminal(program).rstrip("\n").split("\n")]
    width, height = LEFT * 2 + CELL_WIDTH * COLUMNS, TOP + LINE_HEIGHT * len(lines) + 8
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" aria-label="Terminal: shvplan {" ".join(WORDS)}">',
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#dfe4ea}"
        ".s{font-weight:700}.d{fill:#8b97a5}.r{fill:#ff7b72}.g{fill:#57c773}.y{fill:#e0b04a}.b{fill:#7da2ff}.m{fill:#d08be0}.c{fill:#4fc7c1}</style>",
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#14181c"/>',
        '<circle cx="24" cy="22" r="6" fill="#ff5f57"/><circle cx="44" cy="22" r="6" fill="#febc2e"/><circle cx="64" cy="22" r="6" fill="#28c840"/>',
    ]
    for number, line in enumerate(lines):
        column, y = 0, TOP + LINE_HEIGHT * number
        for classes, text in runs(line):
            # Pieces between wide gaps, each with its width said: columns and bars line up in any monospaced font.
            for piece in re.finditer(r"\S+(?: \S+)*", text):
                attributes = f' class="{classes}"' if classes else ""
                x = LEFT + CELL_WIDTH * (column + piece.start())
                out.append(f'<text x="{x:g}" y="{y}" textLength="{CELL_WIDTH * len(piece[0]):g}"{attributes}>{escape(piece[0])}</text>')
            column += len(text)
        if column > COLUMNS:
            sys.exit(f"a line has {column} columns: {line!r}")
    return "\n".join([*out, "</svg>", ""])


def main():
    match sys.argv[1:]:
        case [program]:
            TARGET.parent.mkdir(parents=True, exist_ok=True)
            TARGET.write_text(drawn(program), encoding="utf-8")
        case [program, "--check"]:
            if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != drawn(program):
                sys.exit(f"{TARGET} is out of date: scripts/page.sh --pictures draws it anew")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
