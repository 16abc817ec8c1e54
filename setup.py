"""Packaging: `pip install .` gives the `nova0` command; `nova0[libvirt]` adds the hypervisor driver."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "([^"]+)"', (here / "nova0/__init__.py").read_text()).group(1)

setup(
    name="nova0",
    version=version,
    description="A small compute cloud without a broker: agents find each other and talk directly",
    long_description=(here / "README.md").read_text() if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["nova0", "nova0.*"]), "nova0.agents"],
    package_dir={"nova0.agents": "agents"},
    package_data={"nova0": ["**/*.sql", "**/*.sh", "**/*.json", "py.typed"]},
    data_files=[],
    install_requires=[
        "pyzmq>=26",
        "gevent>=24.10",
        "msgspec>=0.19",
        "bottle>=0.13",
        "peewee>=3.17",
        "zeroconf>=0.154",
        "cryptography>=42",
        "oslo.config>=9",
        "jsonschema>=4.20",
        "google-re2>=1.1",
        "argon2-cffi>=23",
        "pycdlib>=1.14",
        "ifaddr>=0.2",
        "requests>=2.31",
        "rich>=13",
        "prometheus_client>=0.20",
        "shtab>=1.7",
        "PyYAML>=6",
        "ruamel.yaml>=0.18",
    ],
    extras_require={
        "large": ["numpy>=1.26"],
        "plot": ["matplotlib>=3.7"],
        "libvirt": ["libvirt-python>=9"],
        "test": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-rerunfailures>=14",
            "hypothesis>=6",
            "atheris>=3; sys_platform == 'linux'",
            "tempest==47.0.0",
            "numpy>=1.26",
        ],
        "lint": ["ruff>=0.6", "mypy>=1.11", "import-linter>=2.1", "types-requests", "types-PyYAML"],
    },
    entry_points={
        "console_scripts": ["nova0=nova0.cli.main:main"],
        "nova0.agents": [
            "conductor=nova0.agents.conductor:ConductorAgent",
            "images=nova0.agents.images:ImagesAgent",
            "compute=nova0.agents.compute:ComputeAgent",
            "network=nova0.agents.network:NetworkAgent",
        ],
    },
)
