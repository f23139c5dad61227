"""Do the built pages hold what a reader should find?

- Every page of ``book/_toc.yml`` exists, and so does the index page.
- Every chapter shows its figures, and every picture says in words what it shows.
- No page shows a traceback.

``check_pages.py [FOLDER]``, default ``_build/html``. Exit code 0, or 1 and a line per fault.
"""

import re
import sys
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

REPOSITORY = Path(__file__).resolve().parents[1]
# Figures a page has at the least: one on the welcome page, two in each chapter about a stage.
FIGURES = {"00_welcome": 1, "01_signals": 2, "02_encoder": 2, "03_captions": 2}
FIGURES |= {"04_alignment": 2, "05_tuning": 2, "06_evaluation": 2}
TRACEBACK = "Traceback (most recent call last)"


def pages(toc):
    """Names of all files in a Jupyter Book table of contents, in order."""
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    parts = contents.get("parts", [contents])
    return [contents["root"], *(chapter["file"] for part in parts for chapter in part["chapters"])]


def check(html, figures):
    """Faults of one page.

    Parameters
    ----------
    html : str
    figures : int
        Pictures that its cells have to show at the least.

    Returns
    -------
    (int, list of str)
        Pictures found in outputs, and one phrase per fault.
    """
    soup = BeautifulSoup(html, "html.parser")
    shown = soup.select("div.cell_output img, div.cell_output svg")
    faults = [f"shows {len(shown)} figures, {figures} expected"] if len(shown) < figures else []
    for image in soup.find_all("img"):
        # myst-nb names a picture without an alt text after its file.
        alt = (image.get("alt") or "").strip()
        if not alt or re.fullmatch(r"[\w./-]+\.(png|svg|jpe?g)", alt):
            faults.append(f"a picture says nothing to those who cannot see it: {image.get('src', '')[-60:]}")
    if TRACEBACK in soup.get_text():
        faults.append("shows a traceback")
    if not soup.find("h1"):
        faults.append("has no title")
    return len(shown), faults


def main(folder=None):
    """Check a built book and print what was found."""
    folder = Path(folder or REPOSITORY / "_build" / "html")
    wrong = 0
    for name in ["index", *pages(REPOSITORY / "book" / "_toc.yml")]:
        path = folder / f"{name}.html"
        if not path.is_file():
            found, faults = 0, ["was not built"]
        elif name == "index":
            continue  # a redirect to the first page
        else:
            found, faults = check(path.read_text(encoding="utf-8"), FIGURES.get(name, 0))
        wrong += len(faults)
        print(f"{name}.html: {found} figures" + "".join(f"\n  {fault}" for fault in faults))
    print(f"{wrong} faults in the pages of {folder.name}/" if wrong else "All pages are whole.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
