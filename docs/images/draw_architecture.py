#!/usr/bin/env python3
"""Draws docs/images/architecture.svg: the folders of outrider/ and the direction in which they include one another.

    python3 docs/images/draw_architecture.py

tools/check_layers is the exact rule; this is its picture.
"""

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1176, 752
BOX_WIDTH, BOX_HEIGHT, GAP = 196, 58, 12
COLUMN_STEP, COLUMN_LEFT, COLUMN_TOP = 233, 24, 150

# Columns of the main path, left to right: title, colour, (folder, what it does).
COLUMNS = [
    ("Read", "#e3ecf7", [("util", "errors, threads, memory"), ("files", "map, copy, replace"),
                         ("checkpoint", "safetensors, index, GGUF")]),
    ("Prove", "#e2f1e7", [("storage_forms", "one file per quantisation"), ("manifest", "config.json, the registry"),
                          ("binding", "tensors to parameters")]),
    ("Compute", "#fdf0d9", [("kernels", "scalar, AVX2, AVX-512"), ("math", "rounding, RoPE, top-k"),
                            ("backend", "activations, matrix products"), ("architectures", "DeepSeek-V4 forward pass")]),
    ("Generate", "#f6e3ef", [("decoding", "drafters, verify, sampling"), ("engine", "scheduler, sequence pool")]),
    ("Serve", "#ece6f7", [("server", "HTTP, OpenAI API, metrics"), ("benchmark", "latency, throughput")]),
]
TOOLS = [("check", "findings and the report"), ("artifact", "repair, convert, quantize")]
HUB = ("hub", "headers over HTTPS: hf://")
TEXT = [("tokenizer", "byte-level BPE"), ("prompt", "chat encoding, tool calls"), ("grammar", "schemas, EBNF, token masks")]

out = []


def text(x, y, content, size, weight="normal", colour="#1f2933", anchor="start"):
    out.append(f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
               f'text-anchor="{anchor}">{escape(content)}</text>')


def box(x, y, width, name, purpose, fill):
    out.append(f'<rect x="{x}" y="{y}" width="{width}" height="{BOX_HEIGHT}" rx="7" fill="{fill}" stroke="#8a97a6"/>')
    text(x + 12, y + 24, name, 16, "bold")
    text(x + 12, y + 45, purpose, 12.5, colour="#46525f")


def arrow(x1, y1, x2, y2):
    out.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#46525f" stroke-width="2" '
               'marker-end="url(#head)"/>')


def column_x(i):
    return COLUMN_LEFT + i * COLUMN_STEP


box(COLUMN_LEFT, 20, WIDTH - 2 * COLUMN_LEFT, "cli", "the program: commands over shells, options and terminal; "
    "may include every folder below, and no folder includes it", "#eef1f4")
for i, (title, fill, folders) in enumerate(COLUMNS):
    x = column_x(i)
    text(x, COLUMN_TOP - 18, title, 18, "bold")
    for row, (name, purpose) in enumerate(folders):
        box(x, COLUMN_TOP + row * (BOX_HEIGHT + GAP), BOX_WIDTH, name, purpose, fill)
    if i + 1 < len(COLUMNS):
        y = COLUMN_TOP + BOX_HEIGHT / 2
        arrow(x + BOX_WIDTH + 4, y, x + COLUMN_STEP - 6, y)

tools_y = COLUMN_TOP + 4 * (BOX_HEIGHT + GAP) + 38
text(COLUMN_LEFT, tools_y + 22, "Artifacts", 18, "bold")
text(COLUMN_LEFT, tools_y + 42, "diagnose and rewrite", 12.5, colour="#46525f")
text(COLUMN_LEFT, tools_y + 58, "checkpoints; run no model", 12.5, colour="#46525f")
for i, (name, purpose) in enumerate(TOOLS):
    box(column_x(i + 1), tools_y, BOX_WIDTH, name, purpose, "#ffffff")
hub_y = tools_y + BOX_HEIGHT + 22
box(column_x(1), hub_y, BOX_WIDTH, *HUB, "#ffffff")
arrow(column_x(1) + BOX_WIDTH / 2, tools_y + BOX_HEIGHT + 2, column_x(1) + BOX_WIDTH / 2, hub_y - 4)
arrow(column_x(1) + BOX_WIDTH / 2, COLUMN_TOP + 3 * (BOX_HEIGHT + GAP) - GAP + 4,
      column_x(1) + BOX_WIDTH / 2, tools_y - 6)
arrow(column_x(1) + BOX_WIDTH + 4, tools_y + BOX_HEIGHT / 2, column_x(2) - 6, tools_y + BOX_HEIGHT / 2)
out.append(f'<path d="M {column_x(2) - 8} {COLUMN_TOP + 2.5 * (BOX_HEIGHT + GAP)} h -10 V {tools_y - 14} h 100 v 8" '
           'fill="none" stroke="#46525f" stroke-width="2" marker-end="url(#head)"/>')

text_y = hub_y + BOX_HEIGHT + 36
text(COLUMN_LEFT, text_y + 22, "Text", 18, "bold")
text(COLUMN_LEFT, text_y + 42, "needs util and files only", 12.5, colour="#46525f")
for i, (name, purpose) in enumerate(TEXT):
    box(column_x(i + 1), text_y, BOX_WIDTH, name, purpose, "#ffffff")
    if i + 1 < len(TEXT):
        arrow(column_x(i + 1) + BOX_WIDTH + 4, text_y + BOX_HEIGHT / 2, column_x(i + 2) - 6, text_y + BOX_HEIGHT / 2)
arrow(column_x(3) + BOX_WIDTH / 2, text_y - 4, column_x(3) + BOX_WIDTH / 2,
      COLUMN_TOP + 2 * (BOX_HEIGHT + GAP) - GAP + 6)
text(column_x(3) + BOX_WIDTH / 2 + 12, tools_y + 20, "used by engine, server", 12.5, colour="#46525f")
text(column_x(3) + BOX_WIDTH / 2 + 12, tools_y + 36, "and benchmark", 12.5, colour="#46525f")
text(WIDTH - COLUMN_LEFT, HEIGHT - 18, "Includes follow the arrows backwards: a folder includes those to its left, and within a column those above it.", 13,
     colour="#46525f", anchor="end")

svg = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
       'font-family="DejaVu Sans, Verdana, sans-serif">\n'
       '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
       '<path d="M 0 0 L 10 5 L 0 10 z" fill="#46525f"/></marker></defs>\n'
       f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(out) + "\n</svg>\n")
Path(__file__).with_name("architecture.svg").write_text(svg, encoding="utf-8")
