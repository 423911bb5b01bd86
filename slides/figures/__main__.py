"""Draw the figures of the lectures: `python -m slides.figures [NAME ...] [--check] [--png FOLDER]`.

Without names, all of them. A picture that would show the same is left as it is.
"""

import argparse
import sys
from pathlib import Path

from slides.drawn import load, names, picture, stale, svg
from slides.figures.style import look


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m slides.figures")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures; all unless given")
    parser.add_argument("--check", action="store_true", help="write nothing, name the stale ones")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write PNGs there to look at")
    args = parser.parse_args()
    wanted, old = args.names or names(), 0
    try:
        modules = {name: load(name) for name in wanted}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name, module in modules.items():
        why = stale(name)
        if why and args.check:
            print(f"{name}: {why}. `python -m slides.figures {name}` draws it again")
            old += 1
        elif why:
            picture(name).write_text(svg(name), encoding="utf-8")
            print(f"{name}: {why}, drawn")
        if args.png:
            args.png.mkdir(parents=True, exist_ok=True)
            with look():
                module.draw().savefig(args.png / f"{name}.png", dpi=110)
    if args.check:
        print(f"{len(wanted)} figures, {old} stale")
    return 1 if old else 0


if __name__ == "__main__":
    raise SystemExit(main())
