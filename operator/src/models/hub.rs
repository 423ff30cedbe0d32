//! Looks into a repository of a hub or its mirror: which commit a revision is, which of its files a model is made of, what each
//! one's SHA-256 is, and what the model is. Weights are not fetched: a hub tells their sums. Bounded in time, bytes and files. It must
//! not know what the model should be.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::header::LINK;
use reqwest::{Client, Response};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tintype_catalogue::{Contents, of_configs};
use tintype_crds::HubFetch;
use tintype_types::ModelKind;

use super::judge::{Found, Part};
use super::source::{invalid, root, unreachable};
use crate::refusal::Refusal;

/// Largest page of a listing.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Pages of a listing that are read; a page has a thousand files.
const PAGES_MAX: usize = 4;
/// Largest file that is fetched for its sum: a tokenizer's vocabulary has two megabytes.
const SMALL_BYTES_MAX: usize = 8 << 20;
/// Small files fetched at a time.
const AT_ONCE: usize = 4;
/// Files of one model; as many as a card may name.
const FILES_MAX: usize = 64;

/// Parts of a checkpoint in diffusers' layout that workers read, and what their weights are called.
const PARTS: [(&str, Option<&str>); 7] = [
    ("scheduler", None),
    ("text_encoder", Some("model")),
    ("text_encoder_2", Some("model")),
    ("tokenizer", None),
    ("tokenizer_2", None),
    ("unet", Some("diffusion_pytorch_model")),
    ("vae", Some("diffusion_pytorch_model")),
];
const INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";
const UNET_CONFIG: &str = "unet/config.json";

/// What a hub says of a revision.
#[derive(Deserialize)]
struct Revision {
    sha: String,
}

/// A line of a listing.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    /// Of what is kept beside the repository: its `oid` is a SHA-256.
    lfs: Option<Large>,
}

#[derive(Clone, Debug, Deserialize)]
struct Large {
    oid: String,
}

/// What the repository holds, and where its files are.
pub(super) async fn look(http: &Client, hub: &HubFetch, kind: ModelKind) -> Result<Found, Refusal> {
    let HubFetch { endpoint, repo, revision } = hub;
    let (endpoint, api) = (endpoint.trim_end_matches('/'), format!("api/models/{repo}"));
    let Revision { sha } = json(get(http, &format!("{endpoint}/{api}/revision/{revision}")).await?).await?;
    if sha.is_empty() || !sha.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(invalid("the hub names a commit that is none"));
    }
    let listed = list(http, format!("{endpoint}/{api}/tree/{sha}?recursive=true")).await?;
    let wanted = match kind {
        ModelKind::Checkpoint => checkpoint(&listed),
        ModelKind::Controlnet => controlnet(&listed),
        // The schema lets none pass.
        ModelKind::Lora => Err("a LoRA is one file: name it by spec.fetch.url".to_owned()),
    };
    let wanted = wanted.map_err(|what| invalid(&what))?;
    // The commit, not the branch: what was looked at is what workers fetch.
    let parts = futures::stream::iter(wanted.into_iter().map(|file| {
        let url = format!("{endpoint}/{repo}/resolve/{sha}/{}", file.path);
        part(http, file, url)
    }));
    let parts: BTreeMap<String, (Part, Vec<u8>, u64)> = parts.buffer_unordered(AT_ONCE).try_collect().await?;
    let config = |name: &str| parts.get(name).map(|(_, bytes, _)| bytes.as_slice());
    let (kind, family) = match kind {
        ModelKind::Controlnet => of_configs(None, config(CONFIG)),
        ModelKind::Checkpoint | ModelKind::Lora => of_configs(config(INDEX), config(UNET_CONFIG)),
    }
    .map_err(|what| invalid(&what))?;
    let bytes = parts.iter().filter(|(path, _)| is_weights(path)).map(|(_, (_, _, bytes))| bytes).sum();
    let files = parts.into_iter().map(|(path, (part, _, _))| (path, part)).collect();
    Ok(Found { contents: Contents { kind, family, bytes }, files })
}

/// The files of a commit, page after page.
async fn list(http: &Client, first: String) -> Result<Vec<Listed>, Refusal> {
    let (mut listed, mut next) = (Vec::new(), Some(first));
    for _ in 0..PAGES_MAX {
        let Some(url) = next.take() else { return Ok(listed) };
        let answer = get(http, &url).await?;
        next = answer.headers().get(LINK).and_then(|link| next_page(link.to_str().ok()?, &url));
        let page: Vec<Listed> = json(answer).await?;
        listed.extend(page.into_iter().filter(|file| file.kind == "file"));
    }
    if next.is_some() {
        return Err(invalid("the repository has more files than are looked at: name one file by spec.fetch.url"));
    }
    Ok(listed)
}

/// Where a listing goes on: of the same server, or nowhere.
fn next_page(link: &str, from: &str) -> Option<String> {
    let target = link.split(',').find(|link| link.contains("rel=\"next\""))?;
    let target = target.split_once('<')?.1.split_once('>')?.0;
    let (from, next) = (reqwest::Url::parse(from).ok()?, reqwest::Url::parse(from).ok()?.join(target).ok()?);
    (from.origin() == next.origin()).then(|| next.to_string())
}

/// The files of a checkpoint that workers read.
fn checkpoint(listed: &[Listed]) -> Result<Vec<Listed>, String> {
    let find = |path: &str| listed.iter().find(|file| file.path == path);
    let Some(index) = find(INDEX) else {
        return Err(format!(
            "it has no {INDEX}: name a repository in diffusers' layout, or one file by spec.fetch.url"
        ));
    };
    let mut wanted = vec![index.clone()];
    for (part, stem) in PARTS {
        let of_part: Vec<_> = listed.iter().filter(|file| below(&file.path, part).is_some()).collect();
        wanted.extend(of_part.iter().filter(|file| is_config(&file.path)).map(|file| (*file).clone()));
        match stem {
            Some(stem) if !of_part.is_empty() => wanted.push(weights(listed, &format!("{part}/"), stem)?),
            Some(_) | None => {}
        }
    }
    few(wanted)
}

/// The two files of a ControlNet.
fn controlnet(listed: &[Listed]) -> Result<Vec<Listed>, String> {
    let config = listed.iter().find(|file| file.path == CONFIG);
    let config = config.ok_or_else(|| format!("it has no {CONFIG}, so it is no ControlNet"))?;
    few(vec![config.clone(), weights(listed, "", "diffusion_pytorch_model")?])
}

/// The weights of a part, by their plain name or the half-precision variant's, as workers look for them.
fn weights(listed: &[Listed], folder: &str, stem: &str) -> Result<Listed, String> {
    let names = ["", ".fp16"].map(|variant| format!("{folder}{stem}{variant}.safetensors"));
    let found = names.iter().find_map(|name| listed.iter().find(|file| file.path == *name));
    found.cloned().ok_or_else(|| format!("it has no {}, nor that as fp16; pickled weights are not fetched", names[0]))
}

fn few(wanted: Vec<Listed>) -> Result<Vec<Listed>, String> {
    match wanted.len() {
        0..=FILES_MAX => Ok(wanted),
        many => Err(format!("a model of {many} files is not fetched; at most {FILES_MAX} are")),
    }
}

/// The name of a file that lies in a part's folder itself.
fn below<'a>(path: &'a str, part: &str) -> Option<&'a str> {
    path.strip_prefix(part)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// Whether it is a config or a vocabulary, under a name that needs no quoting in a URL.
fn is_config(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    plain && [".json", ".txt"].iter().any(|end| path.ends_with(end)) && !path.ends_with(".index.json")
}

fn is_weights(path: &str) -> bool {
    path.ends_with(".safetensors")
}

/// Where one file is and what its sum is; and its bytes, where it had to be fetched for that.
async fn part(http: &Client, file: Listed, url: String) -> Result<(String, (Part, Vec<u8>, u64)), Refusal> {
    let Listed { kind: _, path, size, lfs } = file;
    match lfs {
        Some(Large { oid }) if is_weights(&path) => {
            let sum = oid.strip_prefix("sha256:").unwrap_or(&oid).to_owned();
            Ok((path, (Part { url, sha256: sum }, Vec::new(), size)))
        }
        Some(_) | None => {
            let answer = get(http, &url).await?;
            let bytes = whole(answer, SMALL_BYTES_MAX).await.map_err(|what| at(&path, what))?;
            let sha256 = hex::encode(Sha256::digest(&bytes));
            Ok((path, (Part { url, sha256 }, bytes, size)))
        }
    }
}

/// The same refusal, with the file it is of.
fn at(path: &str, Refusal { reason, message }: Refusal) -> Refusal {
    Refusal { reason, message: format!("{path}: {message}") }
}

async fn get(http: &Client, url: &str) -> Result<Response, Refusal> {
    let answer = http.get(url).send().await.map_err(|error| unreachable(root(&error)))?;
    if answer.status().is_success() {
        Ok(answer)
    } else {
        Err(unreachable(format!("the hub answers {}", answer.status())))
    }
}

async fn json<T: serde::de::DeserializeOwned>(answer: Response) -> Result<T, Refusal> {
    let bytes = whole(answer, PAGE_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|_| invalid("what answers there is no hub, nor a mirror of one"))
}

/// All of an answer, unless it is larger than that.
async fn whole(mut answer: Response, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(root(&error)))? {
        read.extend_from_slice(&chunk);
        if read.len() > most {
            return Err(invalid(&format!("more than {most} bytes came")));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(paths: &[&str]) -> Vec<Listed> {
        let of = |path: &&str| Listed { kind: "file".to_owned(), path: (*path).to_owned(), size: 1, lfs: None };
        paths.iter().map(of).collect()
    }

    fn chosen(files: Result<Vec<Listed>, String>) -> Vec<String> {
        files.unwrap().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn of_a_repository_what_workers_read_is_chosen_and_nothing_else() {
        let repository = listed(&[
            "README.md",
            "model_index.json",
            "safety_checker/model.safetensors",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/a name.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "unet/more/config.json",
            "v1-5-pruned.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ]);
        let wanted = [
            "model_index.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "tokenizer/merges.txt",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        assert_eq!(chosen(checkpoint(&repository)), wanted);
        let pickled = listed(&["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]);
        assert!(checkpoint(&pickled).unwrap_err().contains("unet/diffusion_pytorch_model.safetensors"));
        assert!(checkpoint(&listed(&["model.safetensors"])).unwrap_err().contains("no model_index.json"));
        let control = listed(&["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"]);
        assert_eq!(chosen(controlnet(&control)), ["config.json", "diffusion_pytorch_model.safetensors"]);
    }

    #[test]
    fn a_listing_goes_on_at_the_same_server_alone() {
        let from = "https://hub.example/api/models/a/b/tree/1?recursive=true";
        let next = |link: &str| next_page(link, from);
        assert_eq!(next("</api/x?cursor=2>; rel=\"next\"").as_deref(), Some("https://hub.example/api/x?cursor=2"));
        assert_eq!(next("<https://elsewhere.example/x>; rel=\"next\""), None);
        assert_eq!(next("</x>; rel=\"prev\""), None);
    }
}
