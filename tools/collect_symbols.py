"""Write the lists of public symbols that the emulated CUDA libraries must export.

    python tools/collect_symbols.py SITE_PACKAGES INCLUDE...

`SITE_PACKAGES` holds what CUDA builds of torch install, for one major of CUDA or for both (`pip install --target`), and
nvidia-ml-py; each `INCLUDE` the headers of one major. Lists of libraries that are not there stay as they are. Needs `nm`
(binutils).
The result is data in the package: run this when a new CUDA release adds symbols, and read the difference before committing it.

A line is a name and, where the call is a computation rather than a refusal, its kind: `compute` is accepted and counted,
`reduction` is too if its result stays on the card.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parents[1] / "pytest_vramguard/devices/emulated/native/symbols"

LIBRARIES = {
    "libcudart.so.13": "nvidia/cu13/lib/libcudart.so.13",
    "libcublas.so.13": "nvidia/cu13/lib/libcublas.so.13",
    "libcublasLt.so.13": "nvidia/cu13/lib/libcublasLt.so.13",
    "libcudart.so.12": "nvidia/cuda_runtime/lib/libcudart.so.12",
    "libcublas.so.12": "nvidia/cublas/lib/libcublas.so.12",
    "libcublasLt.so.12": "nvidia/cublas/lib/libcublasLt.so.12",
    "libcusolver.so.11": "nvidia/cusolver/lib/libcusolver.so.11",
    "libcufft.so.11": "nvidia/cufft/lib/libcufft.so.11",
    "libcupti.so.12": "nvidia/cuda_cupti/lib/libcupti.so.12",
    "libcudnn.so.8": "nvidia/cudnn/lib/libcudnn.so.8",
    "libnvJitLink.so.12": "nvidia/nvjitlink/lib/libnvJitLink.so.12",
    "libnccl.so.2": "nvidia/nccl/lib/libnccl.so.2",
    "libcusolver.so.12": "nvidia/cu13/lib/libcusolver.so.12",
    "libcusparse.so.12": "nvidia/cu13/lib/libcusparse.so.12",
    "libcusparseLt.so.0": "nvidia/cusparselt/lib/libcusparseLt.so.0",
    "libcufft.so.12": "nvidia/cu13/lib/libcufft.so.12",
    "libcudnn.so.9": "nvidia/cudnn/lib/libcudnn.so.9",
    "libcurand.so.10": "nvidia/cu13/lib/libcurand.so.10",
    "libcufile.so.0": "nvidia/cu13/lib/libcufile.so.0",
    "libcupti.so.13": "nvidia/cu13/lib/libcupti.so.13",
    "libnvJitLink.so.13": "nvidia/cu13/lib/libnvJitLink.so.13",
    "libnvshmem_host.so.3": "nvidia/nvshmem/lib/libnvshmem_host.so.3",
}

# Names of the BLAS operations whose operands and results are all device memory.
# Source: cuBLAS 13.0 documentation, "cuBLAS Level-1/2/3 Function Reference" and "BLAS-like Extension".
COMPUTE = re.compile(
    r"cublas(?:[SDCZH]|Cs|Zd|HSH|HSS|TSS|TST)?"
    r"(?:axpy|copy|scal|swap|rot|rotm|gbmv|gemv|ger[cu]?|[sh]bmv|[sh]pmv|[sh]pr2?|[sh]ymv|[sh]yr2?|hemv|her2?|t[bpr][ms]v|"
    r"gemm|gemm3m|symm|hemm|sy2?rk|syrk3m|syr2?kx?|herk3m|her2?kx?|trmm|trsm|geam|dgmm|bdmm|tpttr|trttp|getrf|getri|matinv)"
    r"(?:Strided|Grouped)?(?:Batched)?(?:Ex)?(?:_v2)?(?:_64)?"
)
COMPUTE_BY_NAME = re.compile(r"cublas(?:Gemm|Axpy|Copy|Scal|Swap|Rot|Rotm)(?:Strided|Grouped)?(?:Batched)?Ex(?:_64)?")
# Factorisations, solves and products whose operands and results, the fault number included, are all device memory.
# Source: cuSOLVER 13.0 documentation, "Dense Linear Solver", "Dense Eigenvalue Solver"; cuSPARSE 13.0, "Generic API Functions".
SOLVER = re.compile(
    r"cusolverDn(?:"
    r"[SDCZ](?:getrf|getrs|potrf|potrs|potri|potrfBatched|potrsBatched|geqrf|sytrf|gesvd|gesvdj|gesvdjBatched|gesvdaStridedBatched)"
    r"|[SD](?:orgqr|ormqr|syevd|syevj|syevjBatched)|[CZ](?:ungqr|unmqr|heevd|heevj|heevjBatched)"
    r"|X(?:getrf|getrs|potrf|potrs|geqrf|sytrs|syevd|syevBatched|geev))"
)
SPARSE = re.compile(
    r"cusparse(?:[SDCZ]bsr(?:mm|mv|sv2_(?:analysis|solve)|sm2_(?:analysis|solve))|Sp(?:MV|MM)(?:_preprocess)?|SDDMM(?:_preprocess)?"
    r"|Sp(?:SV|SM)_(?:analysis|solve)|Xcoo2csr|XcoosortByRow|Xcsrsort|CreateIdentityPermutation)"
)
# Source: cuDNN 9.24 API reference, "cudnn_ops".
NETWORK = re.compile(
    r"cudnn(?:BatchNormalization(?:ForwardTraining|ForwardInference|Backward)(?:Ex)?|SpatialTf(?:GridGenerator|Sampler)(?:For|Back)ward)"
)
# Operations with a scalar result, which goes to the host or the card as the handle's pointer mode says.
REDUCTION = re.compile(
    r"cublas(?:(?:[SDCZ]|Sc|Dz)(?:dot[cu]?|nrm2|asum|rotm?g)|I[sdcz]am(?:ax|in))_v2(?:_64)?"
    r"|cublas(?:Dot|Dotc|Nrm2|Asum|Iamax|Iamin|Rotg|Rotmg)Ex(?:_64)?"
)


NOT_PUBLIC = ("_Z", "_fini", "_init", "google", "Json")
"""How names begin that a library exports by oversight: C++, and what it links statically."""


def exported(library: Path) -> set[str]:
    """Return the functions that `library` exports."""
    listing = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True).stdout
    return {name for name in re.findall(r" [TW] (\w+)", listing) if not name.startswith(NOT_PUBLIC)}


def driver_symbols(include: Path) -> set[str]:
    """Return the functions that `cuda.h` declares, with the version suffixes that it maps them to."""
    header = (include / "cuda.h").read_text(encoding="utf-8")
    names = set(re.findall(r"CUresult CUDAAPI\s+(cu\w+)\s*\(", header))
    names |= set(re.findall(r"#define\s+cu\w+\s+(cu\w+_v\d)\s", header))
    for suffix, base in re.findall(r"__CUDA_API_(PTDS|PTSZ)\((cu\w+)\)", header):
        names |= {base, f"{base}_{suffix.lower()}"}
    return names


# What C and C++ programs call and pynvml does not.
NVML_FROM_C = {"nvmlInit", "nvmlInit_v2", "nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetP2PStatus"}


def nvml_symbols(site_packages: Path) -> set[str]:
    """Return the functions that pynvml looks up, and those that PyTorch looks up besides."""
    binding = (site_packages / "pynvml.py").read_text(encoding="utf-8")
    return set(re.findall(r"_nvmlGetFunctionPointer\(\s*[\"'](nvml\w+)[\"']", binding)) | NVML_FROM_C


def kind_of(name: str, names: set[str]) -> str:
    """Return `name` with its kind. A name beside which a `_v2` exists is CUDA 3's interface, without a handle: refused."""
    legacy = f"{name.removesuffix('_64')}_v2" in names
    if not legacy and any(family.fullmatch(name) for family in (COMPUTE, COMPUTE_BY_NAME, SOLVER, SPARSE, NETWORK)):
        return f"{name} compute"
    return f"{name} reduction" if REDUCTION.fullmatch(name) else name


def main(site_packages: Path, includes: list[Path]) -> None:
    """Write one list for each emulated library that is there."""
    lists = {soname: exported(site_packages / place) for soname, place in LIBRARIES.items() if (site_packages / place).exists()}
    if includes:
        lists["libcuda.so.1"] = set().union(*map(driver_symbols, includes))
    if (site_packages / "pynvml.py").exists():
        lists["libnvidia-ml.so.1"] = nvml_symbols(site_packages)
    for soname, names in lists.items():
        TARGET.joinpath(f"{soname}.txt").write_text(
            "".join(f"{kind_of(name, names)}\n" for name in sorted(names)), encoding="utf-8"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(include) for include in sys.argv[2:]])
