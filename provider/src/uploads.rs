//! Pictures that a job starts from or follows, as a provider is handed them: inside the request as a `data:` URL, or, where
//! the store can be reached from outside, by the signed URL that the assignment names, which soon ends.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tintype_crds::ProviderKind;
use tintype_types::FailureReason;
use tintype_types::limits::INPUT_BYTES_MAX;
use tintype_types::worker::Assignment;

use crate::adapter::Adapter;
use crate::attempt::Came;

/// Largest pictures of a request together that Replicate takes inside it, in bytes: its documentation names 256 kB a file.
const REPLICATE_BYTES_MAX: usize = 256_000;
/// The same of RunPod, whose requests may have 10 MB, and of Modal: base64 makes four bytes of three.
const OTHER_BYTES_MAX: usize = 7_000_000;

impl Adapter {
    /// What each picture of an assignment is handed over as, by its store key.
    pub(crate) async fn uploads(
        &self,
        assignment: &Assignment,
        kind: ProviderKind,
    ) -> Result<BTreeMap<String, String>, Came> {
        let (mut handed, mut total) = (BTreeMap::new(), 0);
        for key in assignment.request.input_keys() {
            let Some(url) = assignment.inputs.get(key) else {
                return Err(Came::given_back("the assignment names no place for an uploaded picture"));
            };
            if self.input_urls {
                if !url.starts_with("https://") {
                    let message =
                        "--input-urls is said, and the store's addresses are not https: the provider cannot read there";
                    return Err(Came::given_back(message));
                }
                handed.insert(key.to_owned(), url.clone());
                continue;
            }
            let file = self.dispatch.get(url, INPUT_BYTES_MAX).await.map_err(|error| {
                let message = format!("an uploaded picture could not be read: the store {error}");
                Came::failed(FailureReason::Internal, message, true)
            })?;
            total += file.len();
            if total > bytes_max(kind) {
                let (kind, most) = (kind.as_str(), bytes_max(kind));
                let message = format!(
                    "the job's uploaded pictures have more than {most} bytes, which is what {kind} takes inside a request; \
                     smaller ones may do, or the adapter's --input-urls"
                );
                return Err(Came::failed(FailureReason::InvalidRequest, message, true));
            }
            handed.insert(key.to_owned(), data_url(&file));
        }
        Ok(handed)
    }
}

fn bytes_max(kind: ProviderKind) -> usize {
    match kind {
        ProviderKind::Replicate => REPLICATE_BYTES_MAX,
        ProviderKind::Runpod | ProviderKind::Modal => OTHER_BYTES_MAX,
    }
}

/// A file as a URL that holds it; what it is, is read from how it begins.
fn data_url(file: &[u8]) -> String {
    let media_type = match file {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "application/octet-stream",
    };
    format!("data:{media_type};base64,{}", STANDARD.encode(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_by_itself_what_it_is() {
        assert_eq!(data_url(b"\x89PNGrest"), "data:image/png;base64,iVBOR3Jlc3Q=");
        assert!(data_url(b"\xff\xd8\xff\xe0").starts_with("data:image/jpeg;"));
        assert!(data_url(b"RIFF\0\0\0\0WEBPVP8 ").starts_with("data:image/webp;"));
        assert!(data_url(b"GIF89a").starts_with("data:application/octet-stream;"));
    }
}
