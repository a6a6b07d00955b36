"""What the programs of the kit in Python share: PyTorch, made to give the same bits every time."""

import hashlib
import os
import sys
import time

EXIT_NOT_APPLICABLE = 77

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose differently each time


def not_applicable(reason):
    print(f"not applicable: {reason}", flush=True)
    sys.exit(EXIT_NOT_APPLICABLE)


def torch():
    """PyTorch, with a CUDA device; ends the program where there is none."""
    try:
        import torch as module  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        not_applicable(f"no PyTorch here ({error})")
    if module.version.cuda is None:
        not_applicable("this PyTorch is built without CUDA")
    module.manual_seed(4711)
    module.use_deterministic_algorithms(True)
    module.backends.cudnn.benchmark = False
    module.backends.cuda.matmul.allow_tf32 = False
    if not module.cuda.is_available():
        print("PyTorch sees no GPU", file=sys.stderr)
        sys.exit(1)
    return module


def result(what, tensor):
    """Prints the checksum of a tensor's bytes."""
    data = tensor.detach().to("cpu").contiguous().flatten().view(dtype=torch().uint8).numpy().tobytes()
    print(f"{what}: {hashlib.sha256(data).hexdigest()[:16]}", flush=True)


def timing(name, seconds):
    print(f"timing {name} {seconds * 1e3:.6g} ms", file=sys.stderr, flush=True)


def timed(name, work):
    start = time.monotonic()
    value = work()
    timing(name, time.monotonic() - start)
    return value
