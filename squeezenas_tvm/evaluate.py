"""``evaluate ARCH|BUNDLE``: how right trained weights are on labelled frames, or the module that ships."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezenas_tvm.cli import Result, leave, run_command, table
from squeezenas_tvm.errors import UsageError
from squeezenas_tvm.options import add_board, opened_bundle
from squeezenas_tvm.terminal.progress import progress

if TYPE_CHECKING:
    from search.data import Data
    from search.tasks.segmentation_metrics import Counts
    from squeezenas_tvm.bundles.images import UInt8
    from squeezenas_tvm.bundles.runner import Bundle

    Segment = Callable[[UInt8], UInt8]  # frame (H, W, 3) -> class indices (H, W)

EXAMPLE = (
    "squeezenas-tvm evaluate trained/architecture.yaml --weights trained/best.safetensors \\\n"
    "    --data camvid:data/camvid --split test\n"
    "squeezenas-tvm evaluate bundles/lat-small --data cityscapes:data/cityscapes\n"
    "squeezenas-tvm evaluate bundles/lat-small --data camvid:data/camvid --tracker 127.0.0.1:9190"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "network",
        metavar="ARCH|BUNDLE",
        help="name or YAML file of an architecture, or folder made by `squeezenas-tvm deploy`",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="(default the architecture's own)")
    parser.add_argument(
        "--data", required=True, metavar="SPEC", help="camvid:PATH, cityscapes:PATH, folder:PATH, synthetic"
    )
    parser.add_argument(
        "--split", default="val", choices=("train", "val", "trainval", "test"), help="(default %(default)s)"
    )
    parser.add_argument(
        "--resolution",
        metavar="HxW",
        help="of the network: frames are resized to it, classes back (default: that of the frames; a bundle "
        "has its own)",
    )
    add_board(parser)


def execute(args: argparse.Namespace) -> Result:
    """Segment every frame of the split at its full size, and count.

    Raises:
        UsageError, SearchError, BundleError: network, weights and data that do not fit each other.
        TargetError, FailedWork: no board, or one that does not run the bundle.
    """
    from search.data import open_data
    from search.tasks.segmentation_metrics import confusion_matrix

    data = open_data(args.data)
    frames = data.frames(args.split)
    data.check(*("train", "val") if args.split == "trainval" else (args.split,))
    counts: Any = 0
    with (
        _opened(args, data, len(frames)) as (segment, about),
        progress("evaluate", len(frames)) as step,
    ):
        for index, name in enumerate(frames.names):
            image, labels = frames[index]
            counts = counts + confusion_matrix(labels, segment(image), data.num_classes)
            step(name)
    document = {
        **about,
        "data": data.name,
        "split": args.split,
        "frames": len(frames),
        **_scores(counts, data),
    }
    return Result(document=document, text=_text(document))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_command("evaluate", add_arguments, execute, argv, example=EXAMPLE, kept="nothing was changed")


@contextmanager
def _opened(
    args: argparse.Namespace, data: "Data", frames: int
) -> "Iterator[tuple[Segment, dict[str, Any]]]":
    """What segments a frame, and what it is."""
    folder = Path(args.network)
    if not folder.is_dir():
        for option in ("tracker", "target"):
            if getattr(args, option) is not None:
                raise UsageError(
                    f"--{option} is for bundles; make one of {args.network}: squeezenas-tvm deploy"
                )
        yield _network(args, data)
        return
    for option in ("weights", "resolution"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option} is for architectures; the bundle {args.network} has its own")
    with opened_bundle(folder, args, timeout_s=3600 + 60 * frames) as bundle:
        where = f" on a board at {args.tracker}" if args.tracker else ""
        yield _bundle(bundle, f"bundle {args.network}{where}", data)


def _network(args: argparse.Namespace, data: "Data") -> "tuple[Segment, dict[str, Any]]":
    """The camera's network in PyTorch: what a bundle is compiled from."""
    import torch

    from search.architecture import load_architecture
    from search.networks.graph_module import GraphModule
    from search.networks.weights import load_weights
    from search.resolution import Resolution
    from squeezenas_tvm.bundles.images import resize_bilinear, resize_nearest

    architecture = load_architecture(args.network).for_classes(data.classes)
    path = args.weights or architecture.weights_path
    if path is None:
        raise UsageError("--weights FILE is missing: without weights there is nothing to evaluate")
    weights = load_weights(architecture, path)
    size = data.frame_size
    if args.resolution:
        size = Resolution.parse(args.resolution)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = GraphModule(architecture.camera_network())
    module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()}, strict=False)
    module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def segment(image: "UInt8") -> "UInt8":
        frame = torch.tensor(resize_bilinear(image, *(size or image.shape[:2])), device=device)[None]
        with torch.inference_mode():
            classes = module(frame)[0]
        return resize_nearest(classes.cpu().numpy(), *image.shape[:2])

    about = {"network": architecture.name, "weights": str(path)}
    about["resolution"] = str(Resolution(*size)) if size else "each frame's own size"
    return segment, {**about, "runs": f"PyTorch on {device}"}


def _bundle(bundle: "Bundle", runs: str, data: "Data") -> "tuple[Segment, dict[str, Any]]":
    """The very module that ships. Neither this nor the data sets load PyTorch, which TVM must not meet."""
    names = [entry["name"] for entry in bundle.classes]
    if names != data.class_names:
        raise UsageError(
            f"{runs} tells {len(names)} classes apart ({_first(names)}), and {data.name} "
            f"has {data.num_classes} ({_first(data.class_names)}){_difference(names, data.class_names)}; "
            "deploy weights that were trained on that data"
        )
    about = {"network": bundle.manifest["name"], "weights": bundle.manifest["weights"]["source"]}
    about["resolution"] = f"{bundle.height}x{bundle.width}"
    return bundle.segment, {**about, "runs": runs}


def _first(names: Sequence[str]) -> str:
    return ", ".join([*names[:2], *["..."] * (len(names) > 2)])


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    """Where two lists of as many classes part, if those that are shown do not tell."""
    if len(names) != len(others) or names[:2] != others[:2]:
        return ""
    index = next(index for index, pair in enumerate(zip(names, others, strict=True)) if len(set(pair)) > 1)
    return f": class {index} is {names[index]} in the one and {others[index]} in the other"


def _scores(counts: "Counts", data: "Data") -> dict[str, Any]:
    """In percent; None for classes that do not occur."""
    from search.tasks.segmentation_metrics import iou_per_category, iou_per_class, mean_iou, pixel_accuracy

    ious = dict(zip(data.class_names, iou_per_class(counts).tolist(), strict=True))
    scores = {
        "miou_percent": _percent(mean_iou(counts)),
        "pixel_accuracy_percent": _percent(pixel_accuracy(counts)),
        "iou_percent": {name: _percent(iou) for name, iou in ious.items()},
    }
    if data.categories:
        found = iou_per_category(counts, data.categories)
        known = [iou for iou in found.values() if iou == iou]
        scores["category_miou_percent"] = _percent(sum(known) / len(known)) if known else None
        scores["category_iou_percent"] = {name: _percent(iou) for name, iou in found.items()}
    return scores


def _percent(share: float) -> float | None:
    return None if share != share else 100 * share


def _text(document: dict[str, Any]) -> str:
    lines = [_table("class", document["iou_percent"]), ""]
    if "category_iou_percent" in document:
        lines += [_table("category", document["category_iou_percent"]), ""]
    lines.append(
        f"{document['network']} ({document['runs']}, {document['resolution']}) on {document['frames']} "
        f"frames of {document['data']} {document['split']}:"
    )
    means = [f"mIoU {_number(document['miou_percent'])} %"]
    if "category_miou_percent" in document:
        means.append(f"over categories {_number(document['category_miou_percent'])} %")
    means.append(f"pixels right {_number(document['pixel_accuracy_percent'])} %")
    return "\n".join([*lines, ", ".join(means)])


def _table(what: str, ious: dict[str, float | None]) -> str:
    return table([what, "IoU %"], [[name, _number(iou)] for name, iou in ious.items()])


def _number(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"


if __name__ == "__main__":
    leave(main())
