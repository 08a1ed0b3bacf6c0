"""The before/after comparison as plain rows, shared by the terminal table and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import wording

ACCURACIES = {"top1": "Top-1 accuracy", "bbox_mAP": "Box AP", "segm_mAP": "Mask AP"}
WEAK_SEARCH = "scores had little room to move; their ranking is mostly noise: raise gamma or search longer"


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
    change = wording.times(_ratio(macs), less="fewer MACs", more="more MACs")
    parts = ["MACs unchanged" if change == "unchanged" else change]
    backend = main_backend(summary)
    if backend is not None:
        name = wording.backend(backend)
        speed = wording.times(latency_ratio(summary, backend), less="faster", more="slower")
        parts.append(f"latency unchanged in {name}" if speed == "unchanged" else f"{speed} in {name}")
    if "top1" in summary:
        parts.append(f"error {wording.points(summary['top1']['before'] - summary['top1']['after'])}")
    return ", ".join(parts)


def main_backend(summary: dict[str, Any]) -> str | None:
    """The backend of the headline: ONNX Runtime where it was timed, else the first one."""
    timed = summary.get("latency_ms") or {}
    return "onnxruntime" if "onnxruntime" in timed else next(iter(timed), None)


def latency_ratio(summary: dict[str, Any], backend: str) -> float:
    """Latency after / before: of the paired timings where recorded, else of the medians."""
    paired = (summary.get("latency_ratio") or {}).get(backend)
    if paired is not None:
        return float(paired)
    times = summary["latency_ms"][backend]
    return float(times["after"]["median"] / times["before"]["median"])


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
    for side, name in (("baseline", "unpruned"), ("model", "pruned")):
        check = (parity or {}).get(side)
        tolerance = (parity or {}).get("tolerance")
        if check and tolerance is not None and check["max_rel_diff"] > tolerance:
            found.append(
                f"The exported {name} network differs from PyTorch by {wording.scientific(check['max_rel_diff'])} of "
                f"its largest output (tolerance {tolerance:g}): do not trust the ONNX file before this is understood."
            )
    return found


def _ratio(pair: dict[str, Any]) -> float:
    return float(pair["after"] / pair["before"]) if pair["before"] else 0.0


def _cost_rows(summary: dict[str, Any]) -> list[Row]:
    rows = []
    for key, label in (("params", "Parameters"), ("macs", "MACs")):
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
    return rows


def _percent_row(key: str, label: str, before: float, after: float) -> Row:
    texts = wording.percent(before), wording.percent(after), wording.points(after - before)
    return Row(key, label, *texts, (before, after))


def _latency_rows(summary: dict[str, Any], latency: dict[str, Any]) -> list[Row]:
    rows = []
    for name, times in (summary.get("latency_ms") or {}).items():
        before, after = times["before"], times["after"]
        ratio = latency_ratio(summary, name)
        paired = latency.get("backends", {}).get(name, {}).get("ratio")
        detail = f"ratio {ratio:.3f}"
        if paired:
            detail += f" (p10 {paired['p10']:.3f}, p90 {paired['p90']:.3f})"
        rows.append(
            Row(
                f"latency_{name}",
                f"Latency in {wording.backend(name)}",
                wording.milliseconds(before["median"]),
                wording.milliseconds(after["median"]),
                wording.times(ratio, less="faster", more="slower"),
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
    return f"p10 {wording.digits(times['p10'])}, p90 {wording.digits(times['p90'])}, n {times['n']}"


def _parity_rows(summary: dict[str, Any], parity: dict[str, Any]) -> list[Row]:
    pair = summary.get("parity_max_abs_diff")
    if not pair:
        return []
    checks = [parity.get(side) for side in ("baseline", "model")]
    before, after = (f"{c['n_images']} images, {c['top1_agreement']:g} % agree" if c else "" for c in checks)
    texts = wording.scientific(pair["before"]), wording.scientific(pair["after"])
    relative = ""
    if parity.get("model") and "tolerance" in parity:
        relative = f"relative {wording.scientific(parity['model']['max_rel_diff'])}, tolerance {parity['tolerance']:g}"
    label = "Parity: largest |ONNX \u2212 PyTorch|"
    return [Row("parity", label, *texts, wording.DASH, (pair["before"], pair["after"]), before, after, relative)]
