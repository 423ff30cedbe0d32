//! Where the book of purchases is kept, by compare-and-swap: a file under a lock, or a ConfigMap.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tintype_purchase::Book;
use tokio::time::timeout;

/// The ConfigMap's key.
const KEY: &str = "book.json";
/// Longest a call to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest book read, in bytes: what an object may have.
const BOOK_BYTES_MAX: u64 = 2 << 20;

/// Which writing of the book; nothing where none has been written.
pub(crate) type Version = Option<String>;

/// What became of a write.
pub(crate) enum Stored {
    /// It is kept, as this version.
    Kept(Version),
    /// Somebody else has written since; nothing was changed.
    Outdated,
}

/// A place for the book.
pub(crate) enum Keeper {
    File(PathBuf),
    Map(Box<Api<ConfigMap>>, String),
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    version: u64,
    book: Book,
}

impl Keeper {
    pub(crate) fn map(client: Client, namespace: &str, name: &str) -> Self {
        Self::Map(Box::new(Api::namespaced(client, namespace)), name.to_owned())
    }

    /// The book as it is kept. One that cannot be read is an error, never an empty one: it says what was spent.
    pub(crate) async fn load(&self) -> Result<(Book, Version)> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || with_lock(&path, read_file));
                let read = read.await.context("reading the book broke")??;
                Ok(read.map_or((Book::default(), None), |disk| (disk.book, Some(disk.version.to_string()))))
            }
            Self::Map(maps, name) => {
                let found =
                    timeout(CALL_TIMEOUT, maps.get_opt(name)).await.context("reading the book took too long")?;
                let Some(map) = found.context("reading the ConfigMap of the book")? else {
                    return Ok((Book::default(), None));
                };
                let text = map.data.as_ref().and_then(|data| data.get(KEY));
                let text = text.with_context(|| {
                    format!("the ConfigMap {name} has no {KEY}; restore it, or delete it to begin anew")
                })?;
                let book =
                    serde_json::from_str(text).with_context(|| format!("{KEY} of the ConfigMap {name} is damaged"))?;
                Ok((book, map.metadata.resource_version))
            }
        }
    }

    /// Keeps a book in the place of that version.
    pub(crate) async fn store(&self, book: &Book, before: Option<&str>) -> Result<Stored> {
        match self {
            Self::File(path) => {
                let (path, book, before) = (path.clone(), book.clone(), before.map(str::to_owned));
                let write = move || with_lock(&path, |path| write_file(path, book, before.as_deref()));
                tokio::task::spawn_blocking(write).await.context("keeping the book broke")?
            }
            Self::Map(maps, name) => {
                let map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        resource_version: before.map(str::to_owned),
                        ..ObjectMeta::default()
                    },
                    data: Some([(KEY.to_owned(), serde_json::to_string(book).context("writing the book")?)].into()),
                    ..ConfigMap::default()
                };
                let params = PostParams::default();
                let written = async {
                    if before.is_some() {
                        maps.replace(name, &params, &map).await
                    } else {
                        maps.create(&params, &map).await
                    }
                };
                match timeout(CALL_TIMEOUT, written).await.context("keeping the book took too long")? {
                    Ok(map) => Ok(Stored::Kept(map.metadata.resource_version)),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(Stored::Outdated),
                    Err(error) => Err(error).context("writing the ConfigMap of the book"),
                }
            }
        }
    }
}

/// Holds the lock beside the file while `what` is done.
fn with_lock<T>(path: &Path, what: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let beside = path.with_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&beside);
    let lock = lock.with_context(|| format!("opening {}", beside.display()))?;
    lock.lock().with_context(|| format!("locking {}", beside.display()))?;
    let done = what(path);
    drop(lock);
    done
}

fn read_file(path: &Path) -> Result<Option<OnDisk>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("opening the book {}", path.display())),
    };
    let mut text = String::new();
    file.take(BOOK_BYTES_MAX + 1).read_to_string(&mut text).context("reading the book")?;
    if text.len() as u64 > BOOK_BYTES_MAX {
        bail!("the book {} has more than {BOOK_BYTES_MAX} bytes", path.display());
    }
    let read = serde_json::from_str(&text);
    read.map(Some)
        .with_context(|| format!("the book {} is damaged: restore it, or move it away to begin anew", path.display()))
}

/// Writes beside the file and puts it in its place, both on the disk before this returns.
fn write_file(path: &Path, book: Book, before: Option<&str>) -> Result<Stored> {
    let now = read_file(path)?.map(|disk| disk.version);
    if now.map(|version| version.to_string()).as_deref() != before {
        return Ok(Stored::Outdated);
    }
    let version = now.unwrap_or(0) + 1;
    let text = serde_json::to_vec(&OnDisk { version, book }).context("writing the book")?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside).with_context(|| format!("making {}", beside.display()))?;
    file.write_all(&text).and_then(|()| file.sync_all()).context("writing the book")?;
    std::fs::rename(&beside, path).context("putting the book in its place")?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).context("keeping the book's place")?;
    Ok(Stored::Kept(Some(version.to_string())))
}

#[cfg(test)]
mod tests {
    use tintype_purchase::{Caps, MicroUsd, Order, Price};
    use tintype_types::Timestamp;

    use super::*;

    fn planned(job: &str) -> Book {
        let mut book = Book::default();
        let caps = Caps { day: MicroUsd(9), month: MicroUsd(9) };
        let (price, possible) = (Price::PerImage(MicroUsd(1)), MicroUsd(1));
        let order = Order { job: job.into(), pool: "p".into(), digest: String::new(), price, possible };
        book.plan(Timestamp(1), order, caps).unwrap();
        book
    }

    #[tokio::test]
    async fn of_two_who_write_from_the_same_version_one_is_told_to_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let keepers = [(); 2].map(|()| Keeper::File(folder.path().join("book.json")));
        let (empty, none) = keepers[0].load().await.unwrap();
        assert_eq!((empty, none), (Book::default(), None));
        assert!(matches!(keepers[0].store(&planned("a"), None).await.unwrap(), Stored::Kept(Some(_))));
        assert!(matches!(keepers[1].store(&planned("b"), None).await.unwrap(), Stored::Outdated));
        let (kept, version) = keepers[1].load().await.unwrap();
        assert_eq!(kept, planned("a"));
        assert!(matches!(keepers[1].store(&planned("b"), version.as_deref()).await.unwrap(), Stored::Kept(_)));
    }

    #[tokio::test]
    async fn a_damaged_book_is_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("book.json");
        std::fs::write(&path, "{\"version\":1,\"bo").unwrap();
        let error = Keeper::File(path).load().await.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error:#}");
    }
}
