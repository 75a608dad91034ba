"""The public Python API, re-exported by ``squeezenas_tvm``; nothing here imports TVM or PyTorch by itself.

What a command does is a function here: typed, without the command line. All of them log through ``logging``,
draw no progress unless asked to, and raise the project's exceptions: ``UsageError`` and ``FailedWork`` of
``squeezenas_tvm.errors``, ``TargetError``, ``CostModelError`` and ``SearchError`` of the packages' own
``errors``, ``BundleError`` of ``squeezenas_tvm.bundles.runner``, ``FailedWrite`` and ``InTheWay`` (files that
are not ours would be overwritten) of ``targets.support.files``.

Names are VERB_NOUN: a bare verb would be taken by the command's module of that name once it is imported.
"""

from cost_models.database.table import LatencyTable
from cost_models.estimate import NetworkEstimate
from search.architecture import Architecture, list_architectures, load_architecture
from search.resolution import Resolution
from search.spaces.registry import get_space
from squeezenas_tvm.api.bundles import deploy_architecture, deploy_network, evaluate_bundle, run_bundle
from squeezenas_tvm.api.latencies import (
    choose_architectures,
    compare_networks,
    estimate_latency,
    fit_device,
    predict_network,
    profile_networks,
    profile_space,
)
from squeezenas_tvm.api.networks import evaluate_architecture, search_space, train_architecture
from squeezenas_tvm.api.reports import serve_report, write_report
from squeezenas_tvm.api.tables import export_schedules, export_table, import_schedules, import_table
from targets import PublishedDevice, Target, list_targets, load_device, load_target

__all__: list[str] = [
    "Architecture",
    "LatencyTable",
    "NetworkEstimate",
    "PublishedDevice",
    "Resolution",
    "Target",
    "choose_architectures",
    "compare_networks",
    "deploy_architecture",
    "deploy_network",
    "estimate_latency",
    "evaluate_architecture",
    "evaluate_bundle",
    "export_schedules",
    "export_table",
    "fit_device",
    "get_space",
    "import_schedules",
    "import_table",
    "list_architectures",
    "list_targets",
    "load_architecture",
    "load_device",
    "load_target",
    "predict_network",
    "profile_networks",
    "profile_space",
    "run_bundle",
    "search_space",
    "serve_report",
    "train_architecture",
    "write_report",
]
