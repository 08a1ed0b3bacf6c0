"""A made-up front.json: three points of a small network, the second beaten by the first in latency."""

from __future__ import annotations

ROWS = {
    "unpruned": (1.0, 100, 50, 95.0),
    "0.8": (0.8, 80, 40, 94.5),
    "0.5": (0.9, 50, 20, 94.0),
    "0.2": (0.3, 20, 9, 90.0),
}


def row(ratio: float, macs: int, params: int, top1: float, *, timed: bool = True) -> dict:
    latency = {"onnxruntime": ratio} if timed else {}
    return {
        "accuracy": {"top1": top1},
        "params": 1000 * params,
        "macs": 10**6 * macs,
        "latency_ratio": latency,
        "latency_ms": {name: 10 * value for name, value in latency.items()},
    }


def made_up(goal: dict | None = None, *, timed: bool = True, evaluated_on: str = "test") -> dict:
    beaten = {"latency": "macs_ratio_0.8", "macs": None, "params": None}
    points = [
        {
            "name": f"macs_ratio_{value}",
            "budget": {"kind": "macs_ratio", "value": float(value)},
            **row(*ROWS[value], timed=timed),
            "beaten_by": {cost: by if value == "0.5" else None for cost, by in beaten.items() if timed or by is None},
            "command": f"nncompress prune x --macs-ratio {value} --work-dir '<b>'",
        }
        for value in ("0.8", "0.5", "0.2")
    ]
    return {
        "format": 1,
        "model": "preresnet",
        "dataset": "digits",
        "recipe": "demo",
        "seed": 0,
        "evaluated_on": evaluated_on,
        "metric": "top1",
        "backend": "onnxruntime" if timed else None,
        "timing": {"threads": 1, "batch": 1} if timed else None,
        "unpruned": row(*ROWS["unpruned"], timed=timed),
        "points": points,
        "goal": goal,
        "versions": {"torch": "2"},
        "device": "a CPU",
    }


def asked(kind: str, value: float, least: float, picked: str | None) -> dict:
    return {"kind": kind, "value": value, "least": least, "picked": picked}
