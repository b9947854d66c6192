"""Generates ihuman/, beside the programs that import it, from the contract."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"

sys.exit(
    protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={HERE}",
            f"--pyi_out={HERE}",
            f"--grpc_python_out={HERE}",
            *(str(path) for path in sorted(PROTO.glob("ihuman/**/*.proto"))),
        ]
    )
)
