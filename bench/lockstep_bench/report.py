"""The report as Markdown and as JSON. Knows no process."""

from .comparison import Spread

GOAL_HEADERS = ["figure", "Lockstep", "best peer", "", "ratio", "goal", ""]


def markdown(machine, versions, sections, settings):
    """The whole report. `versions` and `settings`: what was measured and how, by name."""
    lines = ["# Side by side", "", facts(machine, versions, settings), ""]
    goals = [comparison for section in sections for comparison in section.comparisons if comparison.goal is not None]
    failures = [(section.title, *pair) for section in sections for pair in section.failures.items()]
    lines += ["## Goals", "", table(GOAL_HEADERS, [goal_row(comparison) for comparison in goals]), ""]
    if failures:
        lines += ["## Failed", "", *(f"- {title}, {name}: {words}" for title, name, words in failures), ""]
    for section in sections:
        lines += section_lines(section)
    return "\n".join(lines)


def facts(machine, versions, settings):
    parts = [
        f"{machine['cpu']}, {machine['cpus']} CPUs ({', '.join(machine['instructionSets'])})",
        f"{machine['memoryBytes'] / 2**30:.0f} GiB",
        machine["kernel"],
        f"load before {machine['loadBefore']:.1f}",
        *(f"{name} {version}" for name, version in versions.items()),
        *(f"{name} {value}" for name, value in settings.items()),
    ]
    return "; ".join(parts) + "."


def section_lines(section):
    lines = [f"## {section.title}", "", section.method, ""]
    if section.comparisons:
        rows = [row for comparison in section.comparisons for row in comparison_rows(comparison)]
        lines += [table(["", "median (least to greatest)", "ratio, round by round", "goal", ""], rows), ""]
    for one in section.tables:
        lines += [table(one.headers, one.rows), ""]
    notes = [f"- {comparison.title}: {note}" for comparison in section.comparisons for note in comparison.notes]
    return lines + ([*notes, ""] if notes else [])


def goal_row(comparison):
    """A comparison in one line: only the best peer."""
    best = comparison.best_peer()
    unit, form = comparison.measure.unit, comparison.measure.form
    return [
        comparison.title,
        f"{Spread.of(comparison.ours).median:{form}} {unit}",
        f"{Spread.of(comparison.peers[best]).median:{form}} {unit}",
        best,
        f"**{Spread.of(comparison.ratios()).text('.2f')}**",
        f"{comparison.goal:g}",
        comparison.verdict(),
    ]


def comparison_rows(comparison):
    """A comparison with all its peers, one a line; the best first."""
    unit, form = comparison.measure.unit, comparison.measure.form
    best = comparison.best_peer()
    goal = "" if comparison.goal is None else f"{comparison.goal:g}"
    ratio = Spread.of(comparison.ratios()).text(".2f")
    rows = [[f"**{comparison.title}**", f"{Spread.of(comparison.ours).text(form)} {unit}", f"**{ratio}**"]]
    rows[0] += [goal, comparison.verdict()]
    for name in [best, *(name for name in comparison.peers if name != best)]:
        values = comparison.peers[name]
        left = "" if len(values) == len(comparison.peers[best]) else "one round: clearly slower"
        rows.append([f"- {name}", f"{Spread.of(values).text(form)} {unit}", left, "", ""])
    return rows


def table(headers, rows):
    """A Markdown table; bars in cells are escaped."""
    clean = [[str(cell).replace("|", "\\|") for cell in row] for row in [headers, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in clean]
    return "\n".join([lines[0], "|" + "---|" * len(headers), *lines[1:]])


def as_json(machine, versions, sections, settings):
    return {
        "machine": machine,
        "versions": versions,
        "settings": settings,
        "sections": [section_json(section) for section in sections],
    }


def section_json(section):
    return {
        "title": section.title,
        "comparisons": [comparison_json(comparison) for comparison in section.comparisons],
        "tables": [{"headers": one.headers, "rows": one.rows} for one in section.tables],
        "samples": section.samples,
        "failures": section.failures,
    }


def comparison_json(comparison):
    ratios = comparison.ratios()
    return {
        "title": comparison.title,
        "unit": comparison.measure.unit,
        "higherIsBetter": comparison.measure.higher_is_better,
        "ours": comparison.ours,
        "peers": comparison.peers,
        "bestPeer": comparison.best_peer(),
        "ratios": ratios,
        "ratio": Spread.of(ratios).median,
        "goal": comparison.goal,
        "verdict": comparison.verdict(),
        "notes": comparison.notes,
    }
