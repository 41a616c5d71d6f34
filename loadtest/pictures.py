"""Pictures of a report's page, taken by Chromium if it is there."""
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHOT_SECONDS = 60
# Widths of a window, and whether it is dark.
VIEWS = {"light": (1040, False), "dark": (1040, True), "phone": (390, False)}
# No window of Chromium is narrower than 500 or all page: the page is in a frame, and tells how high it is.
NARROWEST, SLACK = 500, 200
TELL = '<script>parent.postMessage(document.documentElement.scrollHeight, "*")</script></body>'
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe src="page.html" width="{width}" height="{height}"
style="border:0;display:block"></iframe><script>
addEventListener("message", (event) => document.body.setAttribute("data-height", event.data));
</script></body>"""


def take_all(page):
    """Every view of a page, beside it."""
    return [take(page.read_text(), page.with_name(f"{name}.png"), width, is_dark)
            for name, (width, is_dark) in VIEWS.items()]


def take_figures(page, titles, picture):
    """Only some of a page's plots, for a document."""
    html = page.read_text()
    figures = re.findall(r"<figure>.*?</figure>", html, re.DOTALL)
    chosen = [next(each for each in figures if f"<figcaption>{title}</figcaption>" in each) for title in titles]
    style = "<style>body { padding: 0.6rem } figure { margin: 0 0 0.6rem } figure:last-child { margin: 0 }</style>"
    head = html[:html.index("</head>")] + style
    return take(f"{head}</head><body>{''.join(chosen)}</body></html>", picture, 820, False)


def take(html, picture, width, is_dark):
    """The whole page at this width: as high as it says that it is."""
    with tempfile.TemporaryDirectory(prefix="dunlin-pictures-") as folder:
        (Path(folder) / "page.html").write_text(html.replace("</body>", TELL))
        frame = Path(folder) / "frame.html"
        frame.write_text(FRAME.format(width=width, height=100))
        drawn = chromium(folder, (width, 400), is_dark, "--virtual-time-budget=1000", "--dump-dom", frame.as_uri())
        height = int(re.search(r'data-height="(\d+)"', drawn).group(1))
        frame.write_text(FRAME.format(width=width, height=height))
        chromium(folder, (width, height + SLACK), is_dark, f"--screenshot={picture.absolute()}", frame.as_uri())
    crop(picture, width, height)
    return picture


def crop(picture, width, height):
    """Keeps the upper left of a PNG. Its pixels are told by those on their left and above (PNG section 9), so
    what is left over needn't be known."""
    data, chunks, at = picture.read_bytes(), {}, 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        chunks[kind] = chunks.get(kind, b"") + data[at + 8:at + 8 + length]
        at += length + 12
    full, _, depth, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    pixel = {2: 3, 6: 4}[colours] * depth // 8
    rows = zlib.decompress(chunks[b"IDAT"])
    kept = [rows[at:at + 1 + width * pixel] for at in range(0, height * (full * pixel + 1), full * pixel + 1)]
    parts = [(b"IHDR", struct.pack(">II", width, height) + chunks[b"IHDR"][8:]),
             (b"IDAT", zlib.compress(b"".join(kept), 9)), (b"IEND", b"")]
    picture.write_bytes(data[:8] + b"".join(struct.pack(">I", len(body)) + kind + body
                                            + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts))


def chromium(folder, size, is_dark, *what):
    # Root has no sandbox there.
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    scheme = ["--blink-settings=preferredColorScheme=0"] if is_dark else []
    width, height = max(size[0], NARROWEST), size[1]
    command = [CHROMIUM, "--headless=new", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
               f"--window-size={width},{height}", *as_root, *scheme, *what]
    return subprocess.run(command, capture_output=True, text=True, timeout=SHOT_SECONDS, check=True).stdout
