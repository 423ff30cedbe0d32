#!/usr/bin/env python3
"""Prints what a program is made of, as CycloneDX 1.6: sbom.py PACKAGE (such as tintype-operator).

Every crate that is compiled into it, with version, licence and the hash Cargo.lock pins; build scripts, macros' own
dependencies and tests are not in it. The same Cargo.lock gives the same bytes.
"""

import json
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMESPACE = uuid.UUID("6f0f3f1e-2f5b-5e0e-9b43-6c1a7e0d7a11")


def fail(said):
    sys.exit(f"sbom: {said}")


def metadata(platform):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", platform]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail("cargo metadata failed; it says why above")
    return json.loads(done.stdout)


def platform():
    said = subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    return re.search(r"^host: (\S+)", said, re.MULTILINE).group(1)


def checksums():
    """SHA-256 of each crate from a registry, by (name, version)."""
    found = {}
    for block in (ROOT / "Cargo.lock").read_text().split("[[package]]"):
        fields = dict(re.findall(r'^(\w+) = "([^"]*)"', block, re.MULTILINE))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def reached(nodes, root):
    """Every package compiled into `root`, with what each one needs."""
    graph, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package in graph:
            continue
        linked = [
            dependency["pkg"]
            for dependency in nodes[package]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        graph[package] = sorted(set(linked))
        waiting.extend(linked)
    return graph


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind, hashes):
    said = {"type": kind, "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
    if package.get("description"):
        said["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Cargo once took a slash for `OR`.
        said["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    checksum = hashes.get((package["name"], package["version"]))
    if checksum:
        said["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        said["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return said


def main():
    if len(sys.argv) != 2:
        fail("name one package, such as tintype-operator")
    data = metadata(platform())
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    roots = [member for member in data["workspace_members"] if packages[member]["name"] == sys.argv[1]]
    if not roots:
        fail(f"there is no package {sys.argv[1]} in this workspace")
    graph = reached(nodes, roots[0])
    hashes = checksums()
    root = packages[roots[0]]
    libraries = sorted((packages[each] for each in graph if each != roots[0]), key=purl)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": component(root, "application", hashes),
            "tools": {"components": [{"type": "application", "name": "scripts/sbom.py"}]},
        },
        "components": [component(package, "library", hashes) for package in libraries],
        "dependencies": sorted(
            (
                {"ref": purl(packages[each]), "dependsOn": sorted({purl(packages[needed]) for needed in needs})}
                for each, needs in graph.items()
            ),
            key=lambda dependency: dependency["ref"],
        ),
    }
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(bom, sort_keys=True))}"
    print(json.dumps(bom, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
