//! What tells one set of weights from another, without reading all of them: names, types, shapes, and numbers from all over
//! every tensor. Training changes every tensor nearly everywhere; so what was drawn with one set is not gone on with by
//! another. It is no proof against somebody who wants two sets to look alike: cards give whole files' SHA-256 for that.

use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::{UnreadableFile, WeightFile};

/// A SHA-256.
pub type Fingerprint = [u8; 32];

/// Places of a tensor that are looked at, from its first byte to its last, and bytes at each.
const PLACES: u64 = 16;
const PLACE_BYTES: u64 = 64;

impl WeightFile {
    /// What tells its weights from others.
    ///
    /// # Errors
    /// A read that fails.
    pub fn fingerprint(&self) -> Result<Fingerprint, UnreadableFile> {
        let mut hash = Sha256::new();
        for (name, place) in self.places() {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(format!("{:?} {:?}", place.dtype, place.shape));
            let bytes = place.end - place.start;
            let mut piece = [0; PLACE_BYTES as usize];
            for nth in 0..PLACES {
                let taken = bytes.min(PLACE_BYTES);
                let at = place.start + (bytes - taken).saturating_mul(nth) / (PLACES - 1);
                let piece = &mut piece[..taken as usize];
                self.read_data(piece, at).map_err(|error| {
                    UnreadableFile::new(self.path(), format!("cannot be read where {name} should lie: {error}"))
                })?;
                hash.update(piece);
                if bytes <= PLACE_BYTES {
                    break;
                }
            }
        }
        Ok(hash.finalize().into())
    }

    /// Reads bytes behind the header.
    fn read_data(&self, piece: &mut [u8], at: u64) -> std::io::Result<()> {
        let (file, start) = self.data();
        file.read_exact_at(piece, start + at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn other_names_shapes_or_numbers_are_other_weights() {
        let first = of("a", &[4, 500], |_| 0.0);
        assert_eq!(first, of("a", &[4, 500], |_| 0.0));
        assert_ne!(first, of("b", &[4, 500], |_| 0.0));
        assert_ne!(first, of("a", &[500, 4], |_| 0.0));
        assert_ne!(first, of("a", &[4, 500], |at| if at == 1_999 { 1.0 } else { 0.0 }), "the last number");
        assert_ne!(first, of("a", &[4, 500], |at| if at / 100 == 7 { 1.0 } else { 0.0 }), "a twentieth in the middle");
        assert_ne!(of("a", &[1], |_| 0.0), of("a", &[1], |_| 1.0));
        assert_eq!(of("a", &[0], |_| 0.0), of("a", &[0], |_| 1.0), "no number at all");
    }

    fn of(name: &str, shape: &[usize], number: fn(usize) -> f32) -> Fingerprint {
        let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(|at| number(at).to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let file = safetensors::serialize([(name, view)], None::<HashMap<String, String>>).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, file).unwrap();
        WeightFile::open(&path).unwrap().fingerprint().unwrap()
    }
}
