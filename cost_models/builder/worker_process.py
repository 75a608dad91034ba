"""The program of a `worker`: builds what comes down the pipe whose descriptor it is given."""

import sys


def main() -> None:
    """Run with the number of the descriptor."""
    # TVM's Python layer imports PyTorch wherever it is installed: 2 s and 200 MB a worker for nothing.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from cost_models.builder.worker import serve

    serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
