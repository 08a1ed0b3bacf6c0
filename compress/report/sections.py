"""The parts of the page, each an HTML string made from one run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from . import curves, plots, rows, wording
from .markup import absent, alert, definitions, legend, note, section, table, tile
from .run_contents import RunContents, missing

STAGES = {
    "load": ("loads the checkpoint", "baseline.safetensors"),
    "steps": ("prunes in all rounds but the last", "step1/"),
    "search": ("learns the scores", "scores.safetensors"),
    "select": ("ranks scores under the budget", "plan.json"),
    "slice": ("removes the pruned channels", "sliced.safetensors"),
    "finetune": ("trains the pruned network", "model.safetensors"),
    "export": ("writes ONNX and checks parity", "model.onnx"),
    "measure": ("times before and after", "latency.json"),
    "report": ("writes this page", "summary.json"),
}


def header(run: RunContents) -> str:
    """Model, data set and budget, the result in one line, and what to be wary of."""
    summary = run.summary
    facts = [f"budget: {wording.budget(summary.get('budget'))}"]
    if summary.get("pruned_ratio") is not None:
        facts.append(f"{100 * summary['pruned_ratio']:.1f} % of the scored channels pruned")
    facts.append(rows.judged_by(summary))
    result = rows.headline(summary)
    alerts = "".join(alert(text) for text in rows.warnings(summary, parity=run.parity))
    return (
        f'<header><p class="overline">{escape(str(summary.get("recipe") or "compress run"))}</p>'
        f"<h1>{escape(str(summary['model']))} <span>on</span> {escape(str(summary['dataset']))}</h1>"
        f'<p class="lead">{escape(_sentence(result))}</p>'
        f'<p class="facts">{" &middot; ".join(escape(fact) for fact in facts)}</p>{alerts}</header>'
    )


def tiles(run: RunContents) -> str:
    """The few numbers that most readers came for."""
    found = {row.key: row for row in rows.comparison(run.summary)}
    backend = rows.main_backend(run.summary)
    wanted = {"params": "Parameters", "macs": "Backbone MACs" if rows.is_detector(run.summary) else "MACs"}
    if backend is not None:
        wanted[f"latency_{backend}"] = wording.backend(backend)
    wanted |= {"top1_error": "Top-1 error", "bbox_mAP": "Box AP", "segm_mAP": "Mask AP"}
    cells = []
    for key, label in wanted.items():
        row = found.get(key)
        if row is None:
            continue
        before, after = row.before.removesuffix(" %").removesuffix(" ms"), row.after
        if key in ("params", "macs"):
            before, after = (wording.short_count(value) for value in row.values)
        signs = {"unchanged": "\u00b10", rows.UNCLEAR: "\u2248"}
        change = f"{signs[row.change]} {row.change}" if row.change in signs else row.change.replace(" times", "\u00d7")
        number, _, unit = change.partition(" ")
        cells.append(tile(label, number, unit, f"{escape(before)} &rarr; <b>{escape(after)}</b>"))
    return f'<div class="tiles">{"".join(cells)}</div>'


def comparison(run: RunContents) -> str:
    """The before/after table and the conditions under which it was measured."""
    body = []
    for row in rows.comparison(run.summary, latency=run.latency, parity=run.parity):
        cells = [(row.before, row.before_detail), (row.after, row.after_detail), (row.change, row.change_detail)]
        tds = "".join(
            f"<td>{escape(text)}{f'<small>{_unbroken(detail)}</small>' if detail else ''}</td>"
            for text, detail in cells
        )
        before, after = (escape(str(value)) for value in row.values)
        data = f'data-key="{escape(row.key)}" data-before="{before}" data-after="{after}"'
        body.append(f'<tr {data}><th scope="row">{escape(row.label)}</th>{tds}</tr>')
    head = '<tr><td></td><th scope="col">before</th><th scope="col">after</th><th scope="col">change</th></tr>'
    shown = table("comparison", head, "".join(body), columns=3)
    notes = [
        "One multiply-add counts as one MAC.",
        *([rows.BACKBONE] if rows.is_detector(run.summary) else []),
        _sentence(rows.judged_by(run.summary)),
        conditions(run),
    ]
    if run.parity is None:
        notes.append(missing("parity.json", run))
    return section("Before and after", f'{shown}<p class="note">{escape(" ".join(notes))}</p>')


def conditions(run: RunContents) -> str:
    """How latency was timed, in one sentence."""
    timing = run.latency
    if timing is None:
        return missing("latency.json", run)
    threads = f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}"
    shape = " \u00d7 ".join(str(side) for side in timing["input_size"])
    versions = ", ".join(f"{name} {version}" for name, version in timing.get("versions", {}).items())
    where = f"{timing['device']} ({versions}){wording.on_gpus(timing)}"
    return (
        f"Latency: milliseconds per batch of {timing['batch']}, {threads}, {timing['dtype']}, input {shape}, on "
        f"{where}; before and after were timed in turn, and the change is the median ratio of neighbouring pairs."
    )


def stages(run: RunContents) -> str:
    """What each stage did, how long it took, and the accuracy after it."""
    times: dict[str, float] = run.summary.get("seconds") or {}
    if not times:
        return section("Stages", note("The summary holds no times: no stage has reported any."))
    judged = [key for key in rows.SHORT if key in run.summary] or ["top1"]
    longest = max(times.values()) or 1.0
    body = []
    for name in [*(name for name in STAGES if name in times), *(name for name in times if name not in STAGES)]:
        job, written = STAGES.get(name, ("", ""))
        accuracies = "".join(f"<td>{_accuracy(run.summary, key, name)}</td>" for key in judged)
        bar = f'<span class="track"><i style="width:{100 * times[name] / longest:.1f}%"></i></span>'
        body.append(
            f'<tr data-stage="{escape(name)}"><th scope="row">{escape(name)}<small>{escape(job)}</small></th>'
            f'<td class="file">{escape(written)}</td>{accuracies}<td>{wording.seconds(times[name])}</td>'
            f'<td class="time">{bar}</td></tr>'
        )
    head = '<th scope="col">stage</th><th scope="col" class="file">writes</th>'
    head += "".join(f'<th scope="col">{rows.SHORT[key]} after</th>' for key in judged)
    head += '<th scope="col">time</th><td></td>'
    total = f'<th scope="row">total</th><td class="file"></td>{"<td></td>" * len(judged)}'
    total += f"<td>{wording.seconds(sum(times.values()))}</td>"
    foot = f"<tr>{total}<td></td></tr>"
    return section("Stages", table("stages", f"<tr>{head}</tr>", "".join(body), columns=0, foot=foot))


def rounds(run: RunContents) -> str:
    """Costs and accuracy after every round; nothing where the network was pruned in one."""
    summary = run.summary
    if not summary.get("steps"):
        return ""
    judged = [key for key in rows.SHORT if key in summary]
    ends = (
        {key: pair[side] for key in ("params", "macs", *judged) for pair in (summary[key],)}
        for side in ("before", "after")
    )
    before, after = ends
    names = ("unpruned", *(f"round {i}" for i in range(1, len(summary["steps"]) + 2)))
    body = []
    for name, left in zip(names, (before, *summary["steps"], after), strict=True):
        counts = "".join(f"<td>{wording.count(left[key])}</td>" for key in ("params", "macs"))
        share = f"<td>{left['macs'] / before['macs']:.3f}</td>" if before["macs"] else "<td></td>"
        figures = "".join(f"<td>{wording.percent(left[key]) if key in left else ''}</td>" for key in judged)
        body.append(f'<tr><th scope="row">{name}</th>{counts}{share}{figures}</tr>')
    titles = ("parameters", "MACs", "share of MACs", *(rows.SHORT[key] for key in judged))
    head = "<td></td>" + "".join(f'<th scope="col">{title}</th>' for title in titles)
    text = "Each round searches, slices and fine-tunes what the one before left; only the last fine-tunes in full."
    shown = table("comparison", f"<tr>{head}</tr>", "".join(body), columns=len(titles))
    return section("Rounds", f"{note(text)}{shown}")


def _accuracy(summary: dict[str, Any], key: str, stage: str) -> str:
    """One figure after a stage, under it the same on the training images; nothing where none was computed."""
    pair, along = summary.get(key) or {}, summary.get(f"{key}_stages") or {}
    after = {"load": pair.get("before"), "search": along.get("searched"), "slice": along.get("sliced")}
    rounds = (summary.get("steps") or [{}])[-1].get(key)
    value = (after | {"steps": rounds, "finetune": pair.get("after")}).get(stage)
    if value is None:
        return ""
    train = "" if key.startswith(rows.TRAIN) else _accuracy(summary, rows.TRAIN + key, stage)
    return wording.percent(value) + (f"<small>training {train}</small>" if train else "")


def training(run: RunContents) -> str:
    """Curves of the search and of the fine-tuning."""
    if run.metrics is None:
        return section("Training curves", absent("metrics.jsonl"))
    aside = run.summary.get("evaluated_on") == "holdout"
    before = (run.summary.get("top1") or {}).get("before") if aside else None
    panels = curves.figures(run.metrics, top1_before=before)
    text = "One point per epoch"
    watched = ((run.recipe or {}).get("recipe") or {}).get("data", {}).get("watch")
    if watched:
        text += f"; AP on {watched} validation and {watched} training images, evenly chosen"
    elif not rows.is_detector(run.summary) and not aside:
        text += "; test images are looked at when a stage has ended"
    text += "."
    return section("Training curves", f'<div class="panels">{"".join(panels)}</div>{note(text)}')


def blocks(run: RunContents) -> str:
    """Share of the dimensions kept in each transformer block; nothing for networks without kinds of groups."""
    if run.plan is None or not run.plan.get("kinds"):
        return ""
    text = "Share of the scored dimensions kept in each block, in percent, by depth, and above it their number. "
    text += "Where the network has stages, vertical lines separate them."
    return section(
        "Remaining dimensions per block", f'{note(text)}<div class="panels">{plots.share_panels(run.plan)}</div>'
    )


def layers(run: RunContents) -> str:
    """Kept channels per scored group."""
    if run.plan is None:
        return section("Kept channels per layer", absent("plan.json"))
    groups = run.plan["groups"]
    kept, size = sum(len(group["kept"]) for group in groups.values()), sum(group["size"] for group in groups.values())
    text = f"{kept:,} of {size:,} scored channels kept in {len(groups)} groups; a full bar is an unpruned group."
    if gone := run.plan.get("blocks_removed"):
        text += f" Blocks removed: {escape(', '.join(gone))}."
    return section("Kept channels per layer", f"{note(text)}{plots.kept_bars(run.plan)}")


def scores(run: RunContents) -> str:
    """Histogram of the learned scores."""
    if run.scores is None:
        return section("Scores", absent("scores.safetensors"))
    total = sum(values.size for values in run.scores.values())
    text = f"{total:,} learned scores by magnitude |score|; the height of a bar is the number of channels."
    keys = legend([("kept", "kept"), ("pruned", "pruned")])
    if run.plan is None:
        keys, text = "", f"{text} {missing('plan.json')} Until then kept and pruned cannot be told apart."
    return section("Scores", f"{note(text)}{keys}{plots.score_histogram(run.scores, run.plan)}")


def provenance(run: RunContents) -> str:
    """How the network was made: enough to make it again."""
    summary = run.summary
    search, select = summary.get("search") or {}, (run.plan or {}).get("select") or {}
    distill = summary.get("distill")
    facts: dict[str, Any] = {"recipe": summary.get("recipe"), "search method": search.get("method")}
    facts |= {"update order": search.get("order"), "gamma": search.get("gamma")}
    if search:
        strength = search.get("strength")
        facts["search strength"] = "has no meaning for this method" if strength is None else wording.digits(strength)
    facts |= {"budget": wording.budget(summary.get("budget")), "ranking": select.get("ranking")}
    facts |= {"fewest kept per group": select.get("floor"), "widths rounded to": _rounded(select)}
    facts["distillation"] = _pairs(distill) if distill else "none"
    facts |= {"seed": summary.get("seed"), "device": summary.get("device")}
    facts["versions"] = _pairs(summary.get("versions") or {})
    if run.stages:
        facts["finished"] = max(str(stage.get("finished", "")) for stage in run.stages.values())
    if run.latency:
        facts["latency measured"] = run.latency.get("date")
    facts["scores, SHA-256"] = (run.plan or {}).get("scores_sha256")
    recipe = absent("recipe.json")
    if run.recipe is not None:
        text = escape(json.dumps(run.recipe, indent=2))
        recipe = f"<details><summary>The resolved recipe</summary><pre>{text}</pre></details>"
    return section("How it was made", f"{definitions(facts)}{recipe}")


def _rounded(select: Mapping[str, Any]) -> str | None:
    """What widths are multiples of."""
    finer = f" ({wording.parts_of('it', select['finer'])})" if select.get("finer") else ""
    return f"{select['round_to']}{finer}" if "round_to" in select else None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _unbroken(detail: str) -> str:
    """Fine print that breaks its line after a comma or before a parenthesis only."""
    return escape(detail).replace(" ", "&nbsp;").replace(",&nbsp;", ", ").replace("&nbsp;(", " (")


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
