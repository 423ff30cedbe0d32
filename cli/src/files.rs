//! Pictures as files: what they are called, and never in another one's place.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Longest file name made from a prompt.
const NAME_CHARS_MAX: usize = 48;

/// What a file is called when the user does not say.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    /// What it shows; a name is made of its words.
    pub(crate) prompt: &'a str,
    /// Of its format.
    pub(crate) extension: &'a str,
}

/// Where picture `index` of `count` goes.
pub(crate) fn target(output: Option<&Path>, name: Name<'_>, index: usize, count: usize) -> PathBuf {
    let Name { prompt, extension } = name;
    let number = if count > 1 { format!("-{}", index + 1) } else { String::new() };
    match output {
        Some(path) if path.is_dir() => path.join(format!("{}{number}.{extension}", slug(prompt))),
        Some(path) if count > 1 => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{stem}{number}.{extension}"))
        }
        Some(path) => path.to_path_buf(),
        None => PathBuf::from(format!("{}{number}.{extension}", slug(prompt))),
    }
}

/// Writes the file. A name the user chose is replaced; a name made here never takes another picture's place.
pub(crate) fn write_new(path: &Path, bytes: &[u8], chosen: bool) -> Result<PathBuf> {
    if chosen && !path.is_dir() {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(path.to_path_buf());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    for number in 1..1_000 {
        let candidate =
            if number == 1 { path.to_path_buf() } else { path.with_file_name(format!("{stem}_{number}.{extension}")) };
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&candidate) {
            Ok(mut file) => {
                file.write_all(bytes).with_context(|| format!("cannot write {}", candidate.display()))?;
                return Ok(candidate);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", candidate.display())),
        }
    }
    bail!("a thousand pictures of this name are here already; choose one with --output")
}

fn slug(prompt: &str) -> String {
    let words: String =
        prompt.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(NAME_CHARS_MAX).collect();
    if slug.is_empty() { "picture".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_becomes_a_plain_file_name() {
        assert_eq!(slug("a red circle on a blue background"), "a-red-circle-on-a-blue-background");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("!!!"), "picture");
        assert!(slug(&"long ".repeat(100)).len() <= NAME_CHARS_MAX);
    }

    #[test]
    fn several_pictures_get_numbers() {
        let name = Name { prompt: "a cat", extension: "webp" };
        assert_eq!(target(None, name, 0, 1), PathBuf::from("a-cat.webp"));
        assert_eq!(target(None, name, 1, 2), PathBuf::from("a-cat-2.webp"));
        assert_eq!(target(Some(Path::new("out/x.png")), name, 0, 2), PathBuf::from("out/x-1.webp"));
        assert_eq!(target(Some(Path::new("out/x.png")), name, 0, 1), PathBuf::from("out/x.png"), "as it was chosen");
    }

    #[test]
    fn a_made_name_never_replaces_a_file_and_a_chosen_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        assert_eq!(write_new(&path, b"1", false).unwrap(), path);
        assert_eq!(write_new(&path, b"2", false).unwrap(), folder.path().join("cat_2.png"));
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
        write_new(&path, b"3", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"3");
    }
}
