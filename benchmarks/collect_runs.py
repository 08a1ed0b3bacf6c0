"""Gather finished runs into benchmarks/results/NAME.json and a Markdown table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _harness import save_results


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the results file")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders with a summary.json")
    parser.add_argument("--commit", required=True, help="the commit that the runs were made with")
    parser.add_argument("--trainings", nargs="+", default=[], metavar="RUN", help="of `nncompress train`: their curves")
    return parser.parse_args()


def row_of(run: Path) -> dict[str, Any]:
    from compress.pipeline.summary import METRICS

    summary = json.loads((run / "summary.json").read_text())
    macs, params = summary["macs"], summary["params"]
    latency_ratio = summary["latency_ratio"].get("onnxruntime")
    prediction = summary.get("prediction")
    latency: dict[str, Any] = {}
    if prediction:
        latency = {f"prediction_{key}": prediction[key] for key in ("ratio", "path")}
        latency["gain"] = json.loads((run / "plan.json").read_text())["select"].get("gain", "sum")
    return {
        "recipe": summary["recipe"],
        "budget": f"{summary['budget']['kind']} {summary['budget']['value']}",
        "distilled": summary["distill"] is not None,
        "macs_ratio": round(macs["after"] / macs["before"], 4),
        "params_ratio": round(params["after"] / params["before"], 4),
        **{
            f"{metric}_{stage}": value
            for metric in METRICS
            if metric in summary
            for stage, value in {
                "baseline": summary[metric]["before"],
                **summary[f"{metric}_stages"],
                "finetuned": summary[metric]["after"],
            }.items()
        },
        "ort_latency_ratio": latency_ratio and round(latency_ratio, 3),
        "strength": summary["search"]["strength"] and round(summary["search"]["strength"], 2),
        "seed": summary["seed"],
        "device": summary["device"],
        "versions": summary["versions"],
        "finished": json.loads((run / "stages.json").read_text())["report"]["finished"],
        **latency,
    }


def curve_of(run: Path) -> list[dict[str, Any]]:
    """Epoch by epoch, of how many, the loss and what was watched."""
    from compress.pipeline.summary import METRICS

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = ("epoch", "epochs", "loss", "train_top1", *METRICS)
    return [{key: line[key] for key in kept if key in line} for line in lines]


def main(args: argparse.Namespace) -> None:
    rows = [{**row_of(Path(run)), "run_commit": args.commit} for run in args.runs]
    shown = [key for key in rows[0] if key not in ("seed", "run_commit", "device", "versions", "finished")]
    print("| " + " | ".join(shown) + " |\n" + "| --- " * len(shown) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[key]) for key in shown) + " |")
    curves = {Path(run).name: curve_of(Path(run)) for run in args.trainings}
    print(save_results(args.name, rows, **({"trainings": curves} if curves else {})))


if __name__ == "__main__":
    main(parse())
