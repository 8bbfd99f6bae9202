"""What pyproject.toml cannot say: the rooms, the compiled kernels, and where configs/ ships."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

ROOMS = ("cython_ext", "state", "consensus", "p2p", "node")
KERNELS = sorted(Path("cython_ext").glob("*.pyx"))

CONFIGS = ["node.configs"] if Path("configs").is_dir() else []

setup(
    packages=find_packages(include=[f"{room}{deep}" for room in ROOMS for deep in ("", ".*")])
    + CONFIGS,
    package_dir={"node.configs": "configs"},
    package_data={"node.configs": ["**/*.toml", "**/*.json", "**/*.yml", "**/*.service"]},
    ext_modules=cythonize(
        [Extension(f"cython_ext.{kernel.stem}", [str(kernel)]) for kernel in KERNELS],
        build_dir="build/cython",  # keeps the generated C out of the tree
        compiler_directives={"language_level": 3},
    ),
)
