//! From paths on the command line to models the pipeline finds by name.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use tintype_types::ModelKind;

use crate::catalogue::{Catalogue, Entry};

/// The models of one command, and the directories in which the pipeline finds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Models {
    pub(super) directories: Vec<PathBuf>,
}

impl Models {
    /// Finds the one model of a kind that a path names: a file, or a folder that is one or holds just one.
    ///
    /// # Errors
    /// No such model there, or several; the message names the flag.
    pub(super) fn find(&mut self, flag: &str, kind: ModelKind, path: &Path) -> Result<Entry> {
        ensure!(path.exists(), "{flag}: there is no {}", path.display());
        let beside = || path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let root = if path.is_dir() { path } else { beside() }.to_owned();
        let found = Catalogue::scan(std::slice::from_ref(&root));
        let meant = |entry: &&Entry| entry.card.kind == kind && (path.is_dir() || same(&entry.path, path));
        let entries: Vec<&Entry> = found.entries().filter(meant).collect();
        let entry = match entries.as_slice() {
            [entry] => (*entry).clone(),
            [] => match found.refused.iter().find(|refused| path.is_dir() || same(&refused.file, path)) {
                Some(refused) => bail!("{flag}: {refused}"),
                None => bail!("{flag}: {} holds no {}", path.display(), word(kind)),
            },
            [first, ..] => {
                let names: Vec<&str> = entries.iter().map(|entry| entry.card.name.as_str()).collect();
                let (names, one) = (names.join(", "), first.path.display());
                bail!("{flag}: {} holds several ({names}); name one, such as {one}", path.display())
            }
        };
        self.directories.push(root);
        self.check_name(flag, &entry)?;
        Ok(entry)
    }

    /// The pipeline knows models by name: two of one name cannot be told apart.
    fn check_name(&self, flag: &str, entry: &Entry) -> Result<()> {
        let all = Catalogue::scan(&self.directories);
        let known = all.find(entry.card.kind, &entry.card.name);
        ensure!(
            known.is_some_and(|known| same(&known.path, &entry.path)),
            "{flag}: another model beside it is called {} too; move one of them to a folder of its own",
            entry.card.name
        );
        Ok(())
    }
}

fn same(left: &Path, right: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole(left) == whole(right)
}

fn word(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Checkpoint => "model; it should hold a model_index.json",
        ModelKind::Lora => "LoRA in a .safetensors file",
        ModelKind::Controlnet => "ControlNet; it should hold a config.json and its weights",
    }
}
