"""Copies the tables of a report into a page, between its two marks. usage: copy_report.py REPORT PAGE"""

import sys
from pathlib import Path

BEGIN, END = "<!-- report: begin -->", "<!-- report: end -->"


def with_report(page, report):
    """`page` with `report` between its marks, as a part of it: headings one level lower, the title left out."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page lacks its marks {BEGIN} and {END}")
    lines = report.strip().splitlines()[1:]
    lowered = "\n".join("#" + line if line.startswith("#") else line for line in lines).strip()
    return f"{before}{BEGIN}\n{lowered}\n{END}{after}"


def main():
    report, page = map(Path, sys.argv[1:])
    page.write_text(with_report(page.read_text(), report.read_text()))


if __name__ == "__main__":
    main()
