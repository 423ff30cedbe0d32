//! Objects as files in a folder: written whole or not at all, never changed afterwards (checkpoints may be replaced). It must not know URLs or HTTP.
//!
//! An upload is a draft in `.drafts`, synced, then hard-linked to its place: linking fails when the place is taken, so
//! the first write wins even between processes that share the folder.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_blocking;

use crate::ObjectMeta;
use crate::error::StoreError;
use crate::key::Key;

/// Where drafts lie; no key can name it, as no part of a key starts with a dot.
const DRAFTS: &str = ".drafts";
/// Drafts older than this belong to nobody: no upload may take this long (`serve::UPLOAD_TIME_MAX` is far below).
const DRAFT_AGE_MAX: Duration = Duration::from_hours(1);
/// How often a link is tried again when a deletion took its folder away in between.
const LINK_TRIES_MAX: u32 = 4;
/// How much of two files is compared at a time.
const COMPARE_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    bytes_max: u64,
}

impl Folder {
    /// Makes the folder when absent and clears away drafts that nobody can be writing any more.
    pub(crate) fn open(root: PathBuf, bytes_max: u64) -> Result<Self, StoreError> {
        let drafts = root.join(DRAFTS);
        fs::create_dir_all(&drafts).map_err(StoreError::io(format!("making the store folder {}", drafts.display())))?;
        clear_old_drafts(&drafts).map_err(StoreError::io(format!("clearing old drafts in {}", drafts.display())))?;
        Ok(Self { root, bytes_max })
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The object's file and length.
    pub(crate) async fn file(&self, key: &Key) -> Result<(tokio::fs::File, u64), StoreError> {
        let file = match tokio::fs::File::open(self.path(key)).await {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Err(StoreError::NotFound),
            Err(e) => return Err(StoreError::io("opening an object")(e)),
        };
        let meta = file.metadata().await.map_err(StoreError::io("looking at an object"))?;
        if meta.is_file() { Ok((file, meta.len())) } else { Err(StoreError::NotFound) }
    }

    pub(crate) async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        let (file, bytes) = self.file(key).await?;
        if bytes > self.bytes_max {
            return Err(StoreError::TooLarge { max: self.bytes_max });
        }
        let file = file.into_std().await;
        let read = move || {
            let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
            file.take(bytes).read_to_end(&mut content).map(|_| Bytes::from(content))
        };
        blocking(read).await.map_err(StoreError::io("reading an object"))
    }

    pub(crate) async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        match tokio::fs::metadata(self.path(key)).await {
            Ok(meta) if meta.is_file() => Ok(Some(ObjectMeta { bytes: meta.len() })),
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(StoreError::io("looking at an object")(e)),
        }
    }

    pub(crate) async fn delete_prefix(&self, prefix: &Key) -> Result<u64, StoreError> {
        let path = self.path(prefix);
        blocking(move || delete_below(&path)).await.map_err(StoreError::io("deleting objects"))
    }

    /// Begins an upload. Dropping it before [`Upload::commit`] leaves nothing.
    pub(crate) async fn begin(&self) -> Result<Upload, StoreError> {
        let name = hex::encode(rand::random::<[u8; 16]>());
        let draft = Draft(self.root.join(DRAFTS).join(name));
        let opened = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&draft.0).await;
        let file = opened.map_err(StoreError::io("opening a draft"))?;
        Ok(Upload { folder: self.clone(), file, draft, bytes: 0 })
    }
}

/// One object on its way in.
pub(crate) struct Upload {
    folder: Folder,
    file: tokio::fs::File,
    draft: Draft,
    bytes: u64,
}

impl Upload {
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.folder.bytes_max {
            return Err(StoreError::TooLarge { max: self.folder.bytes_max });
        }
        self.file.write_all(chunk).await.map_err(StoreError::io("writing a draft"))
    }

    /// Puts the object in its place, durably. The same bytes already there are fine, others are a `Conflict`, unless the
    /// key may be replaced.
    pub(crate) async fn commit(mut self, key: &Key) -> Result<(), StoreError> {
        self.file.flush().await.map_err(StoreError::io("writing a draft"))?;
        self.file.sync_all().await.map_err(StoreError::io("syncing a draft"))?;
        let Self { folder, draft, .. } = self;
        let (place, replace) = (folder.path(key), key.is_replaceable());
        let put = if replace { replace_by_draft } else { place_draft };
        let kept = blocking(move || put(&folder.root, &draft, &place)).await;
        match kept.map_err(StoreError::io("putting an object in its place"))? {
            Kept::Yes => Ok(()),
            Kept::OtherBytesThere => Err(StoreError::Conflict),
        }
    }
}

/// A draft's file, gone when this is dropped (its bytes live on where they were linked to).
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing to be done about a failure here: the next start clears it away.
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    OtherBytesThere,
}

fn place_draft(root: &Path, draft: &Draft, place: &Path) -> io::Result<Kept> {
    let parent = place.parent().unwrap_or(root);
    for _ in 0..LINK_TRIES_MAX {
        match fs::create_dir_all(parent) {
            Ok(()) => {}
            // A part of the key is an object itself.
            Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                return Ok(Kept::OtherBytesThere);
            }
            Err(e) => return Err(e),
        }
        match fs::hard_link(&draft.0, place) {
            Ok(()) => return sync_folders(root, parent).map(|()| Kept::Yes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // a deletion took the folder away: make it again
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match same_bytes(&draft.0, place) {
                Ok(true) => return sync_folders(root, parent).map(|()| Kept::Yes),
                Ok(false) => return Ok(Kept::OtherBytesThere),
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(e),
            },
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the folder was deleted again and again"))
}

/// As [`place_draft`], in the place of what is there. Whoever reads meanwhile reads the old bytes to their end.
fn replace_by_draft(root: &Path, draft: &Draft, place: &Path) -> io::Result<Kept> {
    let parent = place.parent().unwrap_or(root);
    for _ in 0..LINK_TRIES_MAX {
        match fs::create_dir_all(parent) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                return Ok(Kept::OtherBytesThere);
            }
            Err(e) => return Err(e),
        }
        match fs::rename(&draft.0, place) {
            Ok(()) => return sync_folders(root, parent).map(|()| Kept::Yes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // a deletion took the folder away: make it again
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Ok(Kept::OtherBytesThere),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the folder was deleted again and again"))
}

/// A link survives a power failure once its folder is synced, and that one once its own parent is.
fn sync_folders(root: &Path, innermost: &Path) -> io::Result<()> {
    for folder in innermost.ancestors().take_while(|folder| folder.starts_with(root)) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (fs::File::open(left)?, fs::File::open(right)?);
    let (left_meta, right_meta) = (left.metadata()?, right.metadata()?);
    if !right_meta.is_file() || left_meta.len() != right_meta.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    let mut left_over = left_meta.len();
    while left_over > 0 {
        let n = usize::try_from(left_over).unwrap_or(COMPARE_BYTES).min(COMPARE_BYTES);
        left.read_exact(&mut a[..n])?;
        right.read_exact(&mut b[..n])?;
        if a[..n] != b[..n] {
            return Ok(false);
        }
        left_over -= n as u64;
    }
    Ok(true)
}

/// Depth is bounded by the length of a key.
fn delete_below(path: &Path) -> io::Result<u64> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if is_absent(&e) => return Ok(0),
        Err(e) => return Err(e),
    };
    if !meta.is_dir() {
        return fs::remove_file(path).map(|()| 1);
    }
    let mut deleted = 0;
    for entry in fs::read_dir(path)? {
        deleted += delete_below(&entry?.path())?;
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(deleted),
        // An upload came in between; its object is younger than the wish to delete, so it stays.
        Err(e) if is_absent(&e) || e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(deleted),
        Err(e) => Err(e),
    }
}

fn clear_old_drafts(drafts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(drafts)? {
        let entry = entry?;
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > DRAFT_AGE_MAX));
        if old {
            match fs::remove_file(entry.path()) {
                Err(e) if !is_absent(&e) => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(io::Error::other(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test]
    async fn an_object_is_there_whole_or_not_at_all() {
        let (root, folder) = folder();
        let key = Key::parse("jobs/a/1/0.png").unwrap();
        let mut upload = folder.begin().await.unwrap();
        upload.write(b"half").await.unwrap();
        assert_eq!(folder.stat(&key).await.unwrap(), None);
        drop(upload);
        assert_eq!(drafts(root.path()), 0);

        put(&folder, &key, b"whole").await.unwrap();
        assert_eq!(folder.read(&key).await.unwrap(), "whole");
        assert_eq!(folder.stat(&key).await.unwrap(), Some(ObjectMeta { bytes: 5 }));
        assert_eq!(drafts(root.path()), 0);
    }

    #[tokio::test]
    async fn the_first_write_stays() {
        let (_root, folder) = folder();
        let key = Key::parse("a/b").unwrap();
        put(&folder, &key, b"one").await.unwrap();
        put(&folder, &key, b"one").await.unwrap();
        assert!(matches!(put(&folder, &key, b"two").await, Err(StoreError::Conflict)));
        assert!(matches!(put(&folder, &key, b"oneone").await, Err(StoreError::Conflict)));
        assert_eq!(folder.read(&key).await.unwrap(), "one");
        for clash in ["a", "a/b/c"] {
            assert!(matches!(put(&folder, &Key::parse(clash).unwrap(), b"x").await, Err(StoreError::Conflict)));
            assert_eq!(folder.stat(&Key::parse(clash).unwrap()).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn the_last_write_of_a_checkpoint_stays() {
        let (root, folder) = folder();
        let key = Key::parse("jobs/a/1/checkpoint").unwrap();
        for content in [b"one".as_slice(), b"one", b"another"] {
            put(&folder, &key, content).await.unwrap();
            assert_eq!(folder.read(&key).await.unwrap(), content);
        }
        assert_eq!(drafts(root.path()), 0);
        // Neither is a folder replaced, nor does a checkpoint become one.
        put(&folder, &Key::parse("jobs/b/1/checkpoint/x").unwrap(), b"x").await.unwrap();
        for clash in ["jobs/b/1/checkpoint", "jobs/a/1/checkpoint/x"] {
            assert!(matches!(put(&folder, &Key::parse(clash).unwrap(), b"x").await, Err(StoreError::Conflict)));
        }
        assert_eq!(folder.delete_prefix(&key).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn deleting_takes_whole_segments_and_counts() {
        let (_root, folder) = folder();
        for key in ["jobs/a/1/0.png", "jobs/a/2/0.png", "jobs/ab/1/0.png"] {
            put(&folder, &Key::parse(key).unwrap(), key.as_bytes()).await.unwrap();
        }
        let prefix = Key::parse("jobs/a").unwrap();
        assert_eq!(folder.delete_prefix(&prefix).await.unwrap(), 2);
        assert_eq!(folder.delete_prefix(&prefix).await.unwrap(), 0);
        assert!(folder.stat(&Key::parse("jobs/ab/1/0.png").unwrap()).await.unwrap().is_some());
        let again = Key::parse("jobs/a/1/0.png").unwrap();
        put(&folder, &again, b"x").await.unwrap();
        assert_eq!(folder.delete_prefix(&again).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn opening_clears_only_drafts_nobody_can_be_writing() {
        let (root, _folder) = folder();
        let (old, young) = (root.path().join(".drafts/old"), root.path().join(".drafts/young"));
        for path in [&old, &young] {
            fs::write(path, "x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * DRAFT_AGE_MAX;
        fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        Folder::open(root.path().to_owned(), 10).unwrap();
        assert!(!old.exists());
        assert!(young.exists());
    }

    async fn put(folder: &Folder, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let mut upload = folder.begin().await?;
        upload.write(content).await?;
        upload.commit(key).await
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path().to_owned(), 1_000).unwrap();
        (root, folder)
    }

    fn drafts(root: &Path) -> usize {
        fs::read_dir(root.join(DRAFTS)).unwrap().count()
    }
}
