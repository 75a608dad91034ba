"""Runtimes that people deploy networks with, each made to run one ONNX file as fast as it can.

    python benchmarks/runtimes.py onnxruntime net.onnx --threads 2 --outputs out.npz

Runs the network once on a frame drawn from seed 0 and keeps what it gives; then answers each line of its
input with milliseconds of some runs, as JSON. What one does not have installed it says: ``pip install -r
benchmarks/runtimes.txt`` installs what is not a part of this project.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from refusals import run_benchmark
from served import failure

Run = Callable[[], Any]
TURN_MS = 1500  # after which a turn ends, however few its runs
WARM_UP = 3


def frame_of(shape: tuple[int, ...]) -> Any:
    """Pixels of a camera."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _tvm(path: Path, threads: int) -> Run:
    """A folder that ``deploy`` made."""
    os.environ["TVM_NUM_THREADS"] = str(threads)
    from squeezenas_tvm.bundles.runner import Bundle

    bundle = Bundle.load(path)
    frames = [frame_of(tuple(value["shape"])) for value in bundle.inputs]
    return lambda: bundle.run(frames)[0]


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {value.name: frame_of(tuple(value.shape)) for value in session.get_inputs()}
    return lambda: session.run(None, given)[0]


def _openvino(path: Path, threads: int) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # some processors would take bfloat16
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    frame = frame_of(tuple(compiled.input(0).shape))
    request = compiled.create_infer_request()
    return lambda: request.infer([frame], share_inputs=True, share_outputs=True)[0]


def _torch(path: Path, threads: int, *, compiled: bool) -> Run:
    """The network that the file was made of: PyTorch reads no ONNX; see ``deployed_networks``."""
    import torch
    from deployed_networks import module_of

    torch.set_num_threads(threads)
    module, shape = module_of(path)
    network: Any = module.eval()
    network = network.to(memory_format=torch.channels_last)
    frame = torch.from_numpy(frame_of(shape))
    with torch.inference_mode():
        if compiled:
            import torch._inductor.config

            torch._inductor.config.freezing = True
            network = torch.compile(network)

    def run() -> Any:
        with torch.inference_mode():
            return network(frame).numpy()

    return run


def _mnn(path: Path, threads: int) -> Run:
    import MNN

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.mnn"
        # not by MNN.tools.mnnconvert: that installs a package by itself and tells a server of each use
        convert = [sys.executable, "-c", "import sys, _tools; _tools.mnnconvert(sys.argv)"]
        given = ["-f", "ONNX", "--modelFile", str(path), "--MNNModel", str(file), "--bizCode", "x"]
        _converted([*convert, *given], file)
        settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
        manager = MNN.nn.create_runtime_manager((settings,))
        names = _ends(path)
        network = MNN.nn.load_module_from_file(
            str(file), *([name] for name in names[:2]), runtime_manager=manager
        )
    frame = frame_of(names[2])
    value = MNN.expr.const(frame, frame.shape, MNN.expr.NCHW, MNN.expr.uint8)

    def run() -> Any:
        (told,) = network.onForward([value])
        return np.array(told.read())

    return run


def _ncnn(path: Path, threads: int) -> Run:
    import ncnn
    import pnnx

    _, _, shape = _ends(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "net.onnx"
        _save_without_casts(path, copy)
        shapes = f"inputshape=[{','.join(map(str, shape))}]f32"
        param = Path(folder) / "net.ncnn.param"
        _converted([pnnx.EXEC_PATH, str(copy), shapes, "fp16=0"], param)
        network = ncnn.Net()
        network.opt.num_threads = threads
        network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = network.opt.use_fp16_packed = False
        network.opt.use_bf16_storage = False
        if network.load_param(str(param)) or network.load_model(str(param.with_suffix(".bin"))):
            raise RuntimeError("its file does not load")
    pixels = frame_of(shape)[0].astype(np.float32)
    given = ncnn.Mat(pixels).clone()  # it does not keep the array alive

    def run() -> Any:
        extractor = network.create_extractor()
        extractor.input("in0", given)
        code, told = extractor.extract("out0")
        if code:
            raise RuntimeError(f"it ends with code {code}")
        return np.array(told)

    return run


def _converted(command: list[str], made: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not made.exists():
        lines = (done.stdout + done.stderr).strip().splitlines() or ["without a word"]
        raise RuntimeError(f"cannot be converted: {lines[-1]}")


def _save_without_casts(path: Path, copy: Path) -> None:
    """The network with a frame of floats, and classes of whatever type: for runtimes that know no bytes."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    named = {graph.input[0].name: graph.input[0].name}
    for cast in [node for node in graph.node if node.op_type == "Cast"]:
        named[cast.output[0]] = named.get(cast.input[0], cast.input[0])
        graph.node.remove(cast)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = named.get(name, name)
    (told,) = graph.output
    if told.name in named:
        told.type.tensor_type.elem_type = onnx.TensorProto.INT64
        told.name = named[told.name]
    del graph.value_info[:]
    onnx.save(model, copy)


def _ends(path: Path) -> tuple[str, str, tuple[int, ...]]:
    """Names of its input and output, shape of the former."""
    import onnx

    graph = onnx.load(path).graph
    (given,), (told,) = graph.input, graph.output
    return given.name, told.name, tuple(side.dim_value for side in given.type.tensor_type.shape.dim)


RUNTIMES: Mapping[str, Callable[[Path, int], Run]] = {
    "tvm": _tvm,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": lambda path, threads: _torch(path, threads, compiled=False),
    "torch-compile": lambda path, threads: _torch(path, threads, compiled=True),
    "mnn": _mnn,
    "ncnn": _ncnn,
}


def main() -> None:
    """Be such a process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("network", type=Path, help="ONNX file; of tvm the folder of a bundle")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="of a turn (default %(default)s)")
    parser.add_argument("--outputs", type=Path, required=True, help="file for what the network gives")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runtimes print is no answer
    try:
        run = RUNTIMES[args.runtime](args.network, args.threads)
        np.savez(args.outputs, np.asarray(run()))
        for _ in range(WARM_UP):
            run()
        print(json.dumps({}), file=answers, flush=True)
        for _ in sys.stdin:
            print(json.dumps({"samples_ms": samples_ms(run, args.runs)}), file=answers, flush=True)
    except Exception as error:
        print(json.dumps(failure(error)), file=answers, flush=True)


def samples_ms(run: Run, runs: int) -> list[float]:
    """Of one turn, whose first run is not counted: others had the caches before it."""
    run()
    samples: list[float] = []
    while len(samples) < runs and sum(samples) < TURN_MS:
        started = time.perf_counter()
        run()
        samples.append((time.perf_counter() - started) * 1e3)
    return samples


if __name__ == "__main__":
    run_benchmark(main)
