#!/usr/bin/env python3
"""Breaks a rule of the ledger, one after another, and sees that a test notices: `scripts/mutants.py [WORD...]`.

The rules stand in api/tests/mutants.toml: what the code says, what it says when the rule is broken, and the test that must
fail then; or SQL that takes a guard out of the database. All of them are written into one scratch copy of the sources,
each behind a switch in the environment, so that the tests are built once. WORDs choose the mutants whose names have them.
Prints a line a mutant, and fails if one survives: then a test is missing.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = "api/tests/mutants.toml"
# Longest a test may take; one that hangs has noticed, too.
TIMEOUT_SECONDS = 300
SWITCH = """
/// Whether a mutant is the one that is tried.
pub(crate) fn mutant(n: usize) -> bool {
    static TRIED: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("TINTYPE_MUTANT").ok()?.parse().ok());
    *TRIED == Some(n)
}
"""
# After the migrations of a test's database.
SQL_AFTER = "    (pool, url)"
SQL_HOOK = """    if let Ok(sql) = std::env::var("TINTYPE_MUTANT_SQL") {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    (pool, url)"""


def fail(why):
    sys.exit(f"mutants: {why}")


def copy_sources(scratch):
    """The files git knows, as they are now; those that did not change keep their times, so that little is built anew."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    wanted = {name for name in names.decode().split("\0") if name and not name.startswith(("web/", "docs/"))}
    texts = {name: (ROOT / name).read_bytes() for name in wanted if (ROOT / name).is_file()}
    for old in [path for path in scratch.rglob("*") if path.is_file()]:
        if str(old.relative_to(scratch)) not in texts:
            old.unlink()
    return texts


def write_sources(scratch, texts):
    for name, text in texts.items():
        path = scratch / name
        if path.is_file() and path.read_bytes() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        shutil.copymode(ROOT / name, path)


def mutate(texts, mutants):
    def replace(name, was, becomes):
        text = texts[name].decode()
        if text.count(was) != 1:
            fail(f"{name} has {text.count(was)} times, not once:\n{was}")
        texts[name] = text.replace(was, becomes).encode()

    for n, mutant in enumerate(mutants, 1):
        if "file" in mutant:
            replace(mutant["file"], mutant["was"], mutant["becomes"].replace("MUTANT", f"crate::mutant({n})"))
    texts["api/src/lib.rs"] += SWITCH.encode()
    replace("api/tests/it/support.rs", SQL_AFTER, SQL_HOOK)


def build(scratch):
    """The test programs of the scratch copy: `lib` and `it`."""
    command = ["cargo", "test", "--quiet", "-p", "tintype-api", "--lib", "--test", "it", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        fail("the sources with the mutants in them do not build")
    programs = {}
    for line in built.stdout.splitlines():
        said = json.loads(line)
        if said.get("executable") and said["profile"]["test"]:
            programs["lib" if "lib" in said["target"]["kind"] else said["target"]["name"]] = said["executable"]
    return programs


def run(scratch, programs, test, environment):
    """Whether the test passes."""
    program, name = test.split()
    command = [programs[program], name]
    try:
        done = subprocess.run(command, cwd=scratch / "api", env=os.environ | environment, capture_output=True, text=True,
                              timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if "running 0 tests" in done.stdout:
        fail(f"there is no test {test}")
    return done.returncode == 0


def main():
    mutants = tomllib.loads((ROOT / LIST).read_text())["mutant"]
    cache = os.environ.get("TINTYPE_CACHE", os.path.expanduser("~/.cache/tintype"))
    os.environ["TINTYPE_CACHE"] = cache
    # A build folder of its own: in the usual one cargo takes the copy's crates for those of the sources themselves.
    os.environ["CARGO_TARGET_DIR"] = f"{cache}/mutants/target"
    scratch = pathlib.Path(cache) / "mutants/sources"
    scratch.mkdir(parents=True, exist_ok=True)
    texts = copy_sources(scratch)
    mutate(texts, mutants)
    write_sources(scratch, texts)
    programs = build(scratch)
    words = sys.argv[1:]
    chosen = [(n, m) for n, m in enumerate(mutants, 1) if all(word in m["name"] for word in words)]
    for test in sorted({mutant["test"] for _, mutant in chosen}):
        if not run(scratch, programs, test, {}):
            fail(f"{test} fails with no rule broken")
    survivors = 0
    for n, mutant in chosen:
        begun = time.monotonic()
        environment = {"TINTYPE_MUTANT_SQL": mutant["sql"]} if "sql" in mutant else {"TINTYPE_MUTANT": str(n)}
        survived = run(scratch, programs, mutant["test"], environment)
        survivors += survived
        seconds = time.monotonic() - begun
        print(f"{'SURVIVED' if survived else 'killed':9}{seconds:6.1f} s  {mutant['test']:44}{mutant['name']}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    if survivors:
        fail("what survived needs a test")


main()
