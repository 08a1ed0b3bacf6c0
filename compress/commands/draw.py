"""Draw the cells of a genotype, as an SVG or a PNG."""

from __future__ import annotations

from argparse import Namespace

from .parser import Parser, between


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "genotype",
        metavar="GENOTYPE",
        help="a genotype.json, the run folder of a topology search, or the text of a genotype",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the drawing, .svg or .png")
    parser.add_argument("--zoom", type=between(1, 10), default=2, metavar="N", help="pixels of a PNG per unit (2)")


def main(args: Namespace) -> None:
    from pathlib import Path

    from ..plan import Genotype, UserError, check_output, replacing, write_text
    from ..report.genotype import draw_genotype, drawn_png

    check_output("--output", args.output, inputs=[args.genotype])
    suffix = Path(args.output).suffix
    if suffix not in (".svg", ".png"):
        raise UserError(f"--output {args.output}: must end in .svg or .png; correct it")
    try:
        genotype = Genotype.named(args.genotype)
    except UserError as error:
        raise error.at("GENOTYPE") from None
    if suffix == ".svg":
        write_text(args.output, draw_genotype(genotype))
    else:
        pixels = drawn_png(genotype, zoom=args.zoom)
        with replacing(args.output) as tmp:
            tmp.write_bytes(pixels)
    print(f"Drawing: {args.output}")
