"""What pyproject.toml cannot say: the rooms, the compiled kernels, and where configs/ ships."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

ROOMS = ("cython_ext", "state", "consensus", "p2p", "node")
KERNELS = sorted(Path("cython_ext").glob("*.pyx"))

setup(
    packages=[*find_packages(include=[f"{room}{tail}" for room in ROOMS for tail in ("", ".*")])]
    + (["node.configs"] if Path("configs").is_dir() else []),
    package_dir={"node.configs": "configs"},
    package_data={"node.configs": ["**/*.toml"], "cython_ext": ["*.pyx", "*.pxd"]},
    ext_modules=cythonize(
        [Extension(f"cython_ext.{kernel.stem}", [str(kernel)]) for kernel in KERNELS],
        build_dir="build/cython",  # keeps the generated C out of the tree
        compiler_directives={"language_level": 3},
    ),
)
