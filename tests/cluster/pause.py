#!/usr/bin/env python3
"""Writes the image that holds a pod's namespaces open, as an OCI archive: pause.py PROGRAM ARCHIVE."""

import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import images

program, file = map(pathlib.Path, sys.argv[1:])
with tempfile.TemporaryDirectory() as folder:
    layout = images.Layout(pathlib.Path(folder) / "layout")
    layer = images.Layer(0)
    layer.file("pause", program.read_bytes(), 0o755)
    described, plain = layout.layer(layer)
    config = layout.document("application/vnd.oci.image.config.v1+json", {
        "architecture": images.architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [plain]},
    })
    manifest = layout.document("application/vnd.oci.image.manifest.v1+json", {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [described],
    })
    manifest["annotations"] = {"io.containerd.image.name": "registry.invalid/tintype/pause:test"}
    layout.index([manifest])
    images.archive(layout.folder, file, 0)
