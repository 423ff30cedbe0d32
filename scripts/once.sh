# Something that is fetched or built into the cache once. Sourced, not run, by scripts whose last line of output names it:
#
#   . scripts/once.sh
#   final=FOLDER; answer=WHAT IS PRINTED; probe=A FILE IN IT THAT RUNS
#   reuse && exit
#   ...can it be made here at all? `fail` where not...
#   alone               # then $work is a scratch folder beside it; ends the script if somebody else has made it meanwhile
#   ...fetch or build into $work...
#   keep "$work/made" fetched
#
# Says `reused`, or what `keep` was told, on standard error.

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

# The folder of the cache with what is of one kind.
cache_of() {
    echo "${TINTYPE_CACHE:-${HOME:?HOME or TINTYPE_CACHE must be set}/.cache/tintype}/$1"
}

reuse() {
    # The folder appears by one rename, so what is there is whole.
    [[ -x $probe ]] || return 1
    echo reused >&2
    echo "$answer"
}

# Two at once would do the same work twice: the second one waits and reuses. The lock is descriptor 9; what may outlive a killed
# script must not be handed it (`9>&-`).
alone() {
    local folder name
    folder=$(dirname "$final") name=$(basename "$final")
    mkdir -p "$folder"
    exec 9>"$folder/$name.lock"
    flock 9
    ! reuse || exit 0
    rm -rf "$folder/.$name".* # left by one that was killed; whoever holds the lock is alone
    work=$(mktemp -d "$folder/.$name.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# keep FOLDER WORD: FOLDER becomes what is kept, readable by whoever may have to run it.
keep() {
    chmod 755 "$1"
    rm -rf "$final" # only ever half of something, from before renames were relied on
    mv -T "$1" "$final"
    echo "$2" >&2
    echo "$answer"
}
