"""The before/after comparison as plain rows, shared by the terminal table and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..plan.backends import BACKENDS
from ..plan.drift import DRIFT
from . import wording

ACCURACIES = {"top1": "Top-1 accuracy", "bbox_mAP": "Box AP", "segm_mAP": "Mask AP"}
SHORT = {"top1": "top-1", "bbox_mAP": "box AP", "segm_mAP": "mask AP"}
"""Within a line or above a column."""

TRAIN = "train_"
"""The same figure on the training images."""

BACKBONE = (
    "MACs are the backbone's: those of the heads depend on what is in the image. Parameters and latency are the whole "
    "detector's."
)
LOW_AP = 1.0
"""Box AP in percent below which a detector finds too little for a comparison."""

WEAK_SEARCH = "scores had little room to move; their ranking is mostly noise: raise gamma or search longer"


UNCLEAR = "not distinguishable"
"""Of a latency whose pairs lie on both sides of no change."""
NOT_FASTER = (
    "fewer MACs are not fewer milliseconds where an engine has whole blocks to compute; try select.round_to, or "
    "--latency-ratio with a table of `nncompress profile`"
)
AGAIN = "time both files again when nothing else runs (`nncompress benchmark`)"
DRIFTED = f"The machine's speed changed by more than {100 * DRIFT:.0f} % while latency was measured: {AGAIN}."


@dataclass(frozen=True)
class Row:
    """One line of the comparison: texts to show, raw numbers in `values` (before, after), and fine print."""

    key: str
    label: str
    before: str
    after: str
    change: str
    values: tuple[float, float]
    before_detail: str = ""
    after_detail: str = ""
    change_detail: str = ""


def comparison(
    summary: dict[str, Any], *, latency: dict[str, Any] | None = None, parity: dict[str, Any] | None = None
) -> list[Row]:
    """Rows for parameters, MACs, accuracy, latency per backend and parity, as far as the summary has them."""
    return [
        *_cost_rows(summary),
        *_accuracy_rows(summary),
        *_latency_rows(summary, latency or {}),
        *_parity_rows(summary, parity or {}),
    ]


def headline(summary: dict[str, Any]) -> str:
    """The result in one line: '1.72 times fewer MACs, 1.67 times faster in ONNX Runtime, error +0.28 points'."""
    macs = summary["macs"]
    counted = "backbone MACs" if is_detector(summary) else "MACs"
    change = wording.times(_ratio(macs), less=f"fewer {counted}", more=f"more {counted}")
    parts = [f"{counted} unchanged" if change == "unchanged" else change]
    backend = main_backend(summary)
    if backend is not None:
        parts.append(wording.speed(paired_ratio(summary, backend), backend))
    if "top1" in summary:
        parts.append(f"error {wording.points(summary['top1']['before'] - summary['top1']['after'])}")
    for key in ("bbox_mAP", "segm_mAP"):
        if key in summary:
            parts.append(f"{SHORT[key]} {wording.points(summary[key]['after'] - summary[key]['before'])}")
    return ", ".join(parts)


def is_detector(summary: dict[str, Any]) -> bool:
    """Whether the run pruned a detector, whose MACs are counted in the backbone alone."""
    return bool(summary["model"] == "detector")


def judged_by(summary: dict[str, Any]) -> str:
    """What the network is judged by, and where: 'accuracy on the test split'."""
    return f"{'AP' if is_detector(summary) else 'accuracy'} on the {split(summary)}"


def main_backend(summary: dict[str, Any]) -> str | None:
    """The backend of the headline: ONNX Runtime where it was timed, else the first one."""
    return BACKENDS.first(summary.get("latency_ms") or {})


def latency_ratio(summary: dict[str, Any], backend: str) -> float:
    """Latency after / before: of the paired timings where recorded, else of the medians."""
    paired = (summary.get("latency_ratio") or {}).get(backend)
    if paired is not None:
        return float(paired)
    times = summary["latency_ms"][backend]
    return float(times["after"]["median"] / times["before"]["median"])


def paired_ratio(summary: dict[str, Any], backend: str) -> dict[str, float]:
    """`latency_ratio` as `median`, with the `p10` and `p90` of the pairs where they are recorded."""
    return {"median": latency_ratio(summary, backend), **(summary.get("latency_spread") or {}).get(backend, {})}


def is_faster(summary: dict[str, Any], backend: str) -> bool:
    """Whether the pruned network is: by all but a tenth of the pairs; in the median where they are not recorded."""
    ratio = paired_ratio(summary, backend)
    return wording.verdict(ratio) == "faster" if "p10" in ratio else ratio["median"] < 1


def split(summary: dict[str, Any]) -> str:
    """The split on which accuracy was measured, in words."""
    name = summary.get("evaluated_on")
    return f"{name} split" if name else "split not recorded"


def warnings(summary: dict[str, Any], *, parity: dict[str, Any] | None = None) -> list[str]:
    """What a reader must know before trusting the numbers."""
    found = []
    strength = (summary.get("search") or {}).get("strength")
    if strength is not None and strength < 1:
        found.append(f"Search strength {wording.digits(strength)} is below 1: {WEAK_SEARCH}.")
    before = (summary.get("bbox_mAP") or {}).get("before")
    if before is not None and before < LOW_AP:
        train = (summary.get(f"{TRAIN}bbox_mAP") or {}).get("before", 0.0)
        more = "; that on the training images says more" if train >= LOW_AP else ""
        found.append(
            f"Box AP before pruning is {wording.percent(before)} on the {split(summary)}: too low for its change to "
            f"say what pruning costs{more}."
        )
    found += _latency_warnings(summary)
    for side, name in (("baseline", "unpruned"), ("model", "pruned")):
        if differs(parity, side):
            check, tolerance = (parity or {})[side], (parity or {})["tolerance"]
            found.append(
                f"The exported {name} network differs from PyTorch by {wording.scientific(check['max_rel_diff'])} of "
                f"its largest output (tolerance {tolerance:g}): do not trust the ONNX file before this is understood."
            )
    return found + _nothing_compared(summary)


def _nothing_compared(summary: dict[str, Any]) -> list[str]:
    """What to know of detectors that detected nothing in the images on which their files were compared."""
    counts = summary.get("parity_detections") or {}
    silent = [name for side, name in (("before", "unpruned"), ("after", "pruned")) if counts.get(side) == 0]
    if not silent:
        return []
    return [
        f"The {' and the '.join(silent)} network found no object in the images that its ONNX file was compared on, so "
        "its parity says nothing: compare it on images with objects (export.parity_images takes more), or train longer."
    ]


def differs(parity: dict[str, Any] | None, side: str) -> bool:
    """Whether the exported network `side`, baseline or model, computes something else than PyTorch."""
    check, tolerance = (parity or {}).get(side), (parity or {}).get("tolerance")
    return bool(check and tolerance is not None and check["max_rel_diff"] > tolerance)


def _latency_warnings(summary: dict[str, Any]) -> list[str]:
    """Why the headline's latency is not what was hoped for, or not to be trusted."""
    found, backend = [], main_backend(summary)
    ratio = paired_ratio(summary, backend) if backend is not None else {}
    if wording.noisy(ratio):
        name = wording.backend(str(backend))
        found.append(f"Whether the pruned network is faster in {name} is not known: {wording.UNTOLD}{AGAIN}.")
    elif "p10" in ratio and wording.verdict(ratio) != "faster":
        why = summary.get("not_faster") or NOT_FASTER
        found.append(f"The pruned network is not faster in {wording.backend(str(backend))}: {why}.")
    if summary.get("drifted"):
        found.append(DRIFTED)
    return found


def _ratio(pair: dict[str, Any]) -> float:
    return float(pair["after"] / pair["before"]) if pair["before"] else 0.0


def _cost_rows(summary: dict[str, Any]) -> list[Row]:
    rows = []
    macs = "MACs of the backbone" if is_detector(summary) else "MACs"
    for key, label in (("params", "Parameters"), ("macs", macs)):
        before, after = summary[key]["before"], summary[key]["after"]
        change = wording.times(_ratio(summary[key]), less="fewer", more="more")
        detail = wording.relative(before, after)
        rows.append(
            Row(key, label, wording.count(before), wording.count(after), change, (before, after), change_detail=detail)
        )
    return rows


def _accuracy_rows(summary: dict[str, Any]) -> list[Row]:
    rows = []
    for key, label in ACCURACIES.items():
        if key not in summary:
            continue
        before, after = summary[key]["before"], summary[key]["after"]
        rows.append(_percent_row(key, f"{label} ({split(summary)})", before, after))
        if key == "top1":
            rows.append(_percent_row("top1_error", f"Top-1 error ({split(summary)})", 100 - before, 100 - after))
        if pair := summary.get(TRAIN + key):
            rows.append(_percent_row(TRAIN + key, f"{label} (training images)", pair["before"], pair["after"]))
    return rows


def _percent_row(key: str, label: str, before: float, after: float) -> Row:
    texts = wording.percent(before), wording.percent(after), wording.points(after - before)
    return Row(key, label, *texts, (before, after))


def _latency_rows(summary: dict[str, Any], latency: dict[str, Any]) -> list[Row]:
    rows = []
    for name, times in (summary.get("latency_ms") or {}).items():
        before, after = times["before"], times["after"]
        ratio = paired_ratio(summary, name) | latency.get("backends", {}).get(name, {}).get("ratio", {})
        ratio["median"] = latency_ratio(summary, name)
        detail, change = f"ratio {ratio['median']:.3f}", wording.times(ratio["median"], less="faster", more="slower")
        if "p10" in ratio:
            detail += f" (p10 {ratio['p10']:.3f}, p90 {ratio['p90']:.3f})"
            change = UNCLEAR if wording.verdict(ratio) == "unclear" else change
        rows.append(
            Row(
                f"latency_{name}",
                f"Latency in {wording.backend(name)}",
                wording.milliseconds(before["median"]),
                wording.milliseconds(after["median"]),
                change,
                (before["median"], after["median"]),
                _spread(before),
                _spread(after),
                detail,
            )
        )
    if "predicted_latency_ms" in summary:
        pair = summary["predicted_latency_ms"]
        texts = wording.milliseconds(pair["before"]), wording.milliseconds(pair["after"])
        change = wording.times(_ratio(pair), less="faster", more="slower")
        values = pair["before"], pair["after"]
        found = summary.get("prediction") or {}
        label = f"Latency predicted for {wording.backend(found['backend'])}" if found else "Latency predicted"
        detail = f"ratio {_ratio(pair):.3f}"
        if residual := found.get("residual"):
            detail += f", median error of the table {100 * residual['median']:.1f} %"
        rows.append(Row("predicted_latency_ms", label, *texts, change, values, change_detail=detail))
    return rows


def _spread(times: dict[str, Any]) -> str:
    return f"p10 {wording.digits(times['p10'])}, p90 {wording.digits(times['p90'])}, n {times['n']:d}"


def _parity_rows(summary: dict[str, Any], parity: dict[str, Any]) -> list[Row]:
    pair = summary.get("parity_max_abs_diff")
    if not pair:
        return []
    checks = [parity.get(side) for side in ("baseline", "model")]
    before, after = (_checked(check) if check else "" for check in checks)
    texts = wording.scientific(pair["before"]), wording.scientific(pair["after"])
    relative = ""
    if parity.get("model") and "tolerance" in parity:
        relative = f"relative {wording.scientific(parity['model']['max_rel_diff'])}, tolerance {parity['tolerance']:g}"
    if "max_box_diff" in (parity.get("model") or {}):
        relative = f"boxes {wording.scientific(parity['model']['max_box_diff'])} pixels, "
        relative += f"masks {wording.scientific(parity['model']['max_mask_diff'])}"
    label = "Parity: largest |ONNX \u2212 PyTorch|" + (" of a score" if is_detector(summary) else "")
    return [Row("parity", label, *texts, wording.DASH, (pair["before"], pair["after"]), before, after, relative)]


def _checked(check: dict[str, Any]) -> str:
    """On how many images ONNX was compared, and how far their classes, or the detections in them, agree."""
    text = f"{check['n_images']:d} images"
    if "n_detections" in check:
        return f"{text}, {wording.count(check['n_detections'])} detections, {check['n_unmatched']:d} unmatched"
    return f"{text}, {check['top1_agreement']:g} % agree"
