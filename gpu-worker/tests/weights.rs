//! Damaged weight files end as an error that names them, whatever the damage; never as a panic.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::Path;

use candle_core::Device;
use proptest::prelude::*;
use tintype_worker::weights::{UnreadableFile, WeightFile};

/// A header, the bytes after it, and what the error must say.
const DAMAGED: [(&str, usize, &str); 20] = [
    (r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#, 16, "is broken"),
    ("[1, 2]", 0, "an object of tensors"),
    (r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, 15, "the tensor w ends at byte 16 of 15"),
    (r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, 17, "fill 16 bytes of 17"),
    (r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[16,0]}}"#, 16, "the tensor w, F32 of shape [2, 2], cannot"),
    (r#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,16]}}"#, 16, "the tensor w, F32 of shape [2, 3], cannot"),
    (
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"v":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#,
        24,
        "the tensor v overlaps",
    ),
    (
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"v":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
        16,
        "the tensor w overlaps",
    ),
    (
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"v":{"dtype":"F32","shape":[1],"data_offsets":[20,24]}}"#,
        24,
        "the tensor v leaves a gap",
    ),
    (r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "the tensor w leaves a gap"),
    (
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
        "two tensors named w",
    ),
    (r#"{"w":{"dtype":"F31","shape":[4],"data_offsets":[0,16]}}"#, 16, "the tensor w: unknown variant `F31`"),
    (r#"{"w":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,16]}}"#, 16, "the tensor w, F32 of"),
    (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#, 16, "the tensor w, F32 of"),
    (r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]}}"#, 4, "w, F32 of"),
    (r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,16]}}"#, 16, "misdescribes the tensor w"),
    (r#"{"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, 4, "more than 8 dimensions"),
    (r#"{"w":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "the tensor w: missing field `shape`"),
    (r#"{"w":null}"#, 4, "misdescribes the tensor w"),
    (r#"{"__metadata__":{"a":"b"},"__metadata__":{"a":"b"}}"#, 0, "its metadata twice"),
];

#[test]
fn a_good_file_is_read_whatever_floating_type_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, bytes) in [
        ("F64", 1.5_f64.to_le_bytes().to_vec()),
        ("F32", 1.5_f32.to_le_bytes().to_vec()),
        ("F16", vec![0x00, 0x3e]),
        ("BF16", vec![0xc0, 0x3f]),
    ] {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{}]}}}}"#, bytes.len());
        let path = write(folder.path(), &header, &bytes);
        let tensor = WeightFile::open(&path).unwrap().tensor("w", &[1], &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.5], "{dtype}");
    }
}

#[test]
fn each_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (header, bytes, said) in DAMAGED {
        let path = write(folder.path(), header, &vec![0; bytes]);
        let error = WeightFile::open(&path).unwrap_err();
        assert_eq!(error.file, path);
        assert!(error.to_string().contains(said), "{header}: {error}");
    }
}

#[test]
fn a_length_that_cannot_be_is_not_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    for (bytes, said) in [
        (vec![], "cut short"),
        (vec![1, 2, 3], "cut short"),
        (u64::MAX.to_le_bytes().to_vec(), "claims a header"),
        (((16_u64 << 20) + 1).to_le_bytes().to_vec(), "claims a header"),
        ((1_u64 << 40).to_le_bytes().to_vec(), "claims a header"),
        (100_u64.to_le_bytes().to_vec(), "cut short"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = WeightFile::open(&path).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_tensor_that_does_not_fit_the_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let header = r#"{"w":{"dtype":"F32","shape":[2,2,1,1],"data_offsets":[0,16]},"i":{"dtype":"I32","shape":[1],"data_offsets":[16,20]}}"#;
    let file = WeightFile::open(&write(folder.path(), header, &[0; 20])).unwrap();
    let said = |name: &str, shape: &[usize]| file.tensor(name, shape, &Device::Cpu).unwrap_err().to_string();
    assert!(said("gone", &[2]).contains("has no tensor gone"));
    assert!(said("w", &[4]).contains("with the shape [2, 2, 1, 1]"));
    assert!(said("i", &[1]).contains("I32"));
    assert_eq!(file.tensor("w", &[2, 2], &Device::Cpu).unwrap().dims(), [2, 2], "trailing ones do not matter");
}

#[test]
fn a_number_that_is_none_is_found_in_every_type() {
    let folder = tempfile::tempdir().unwrap();
    for (dtype, bad) in [
        ("F64", f64::NAN.to_le_bytes().to_vec()),
        ("F64", 1e39_f64.to_le_bytes().to_vec()),
        ("F32", f32::INFINITY.to_le_bytes().to_vec()),
        ("F16", vec![0x00, 0x7c]),
        ("F16", vec![0x01, 0xfe]),
        ("BF16", vec![0xc0, 0x7f]),
    ] {
        let length = bad.len();
        let header = format!(
            r#"{{"v":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{length}]}},"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[{length},{}]}}}}"#,
            length * 3
        );
        let path = write(folder.path(), &header, &[vec![0; length * 2], bad].concat());
        let file = WeightFile::open(&path).unwrap();
        assert_eq!(file.tensor("v", &[1], &Device::Cpu).unwrap().to_vec1::<f32>().unwrap(), [0.0]);
        let error = file.tensor("w", &[2], &Device::Cpu).unwrap_err();
        assert_eq!(error.file, path);
        assert!(error.to_string().contains("number in w that is infinite or none (number 1)"), "{dtype}: {error}");
    }
}

#[test]
fn what_is_no_file_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    for (name, said) in [
        ("absent", "cannot be opened"),
        ("folder", "a folder or a device"),
        ("loop", "cannot be opened"),
        ("device", "a folder or a device"),
        ("pipe", "a folder or a device"),
    ] {
        let error = WeightFile::open(&at(name)).unwrap_err();
        assert!(error.file == at(name) && error.to_string().contains(said), "{error}");
        let error = tintype_worker::weights::read_json::<u32>(&at(name)).unwrap_err();
        assert!(error.file == at(name) && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn what_a_file_says_of_itself_is_kept_unless_there_is_no_end_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let about = |entries: usize| {
        let entries: Vec<String> = (0..entries).map(|entry| format!(r#""key{entry}":"v""#)).collect();
        format!(r#"{{"__metadata__":{{{}}}}}"#, entries.join(","))
    };
    let file = WeightFile::open(&write(folder.path(), &about(4_096), &[])).unwrap();
    assert_eq!((file.note("key4095"), file.note("key4096"), file.shapes().len()), (Some("v"), None, 0));
    let error = WeightFile::open(&write(folder.path(), &about(4_097), &[])).unwrap_err();
    assert!(error.to_string().contains("more than 4096 entries of metadata"), "{error}");
}

#[test]
fn a_file_cut_after_it_was_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, &[0; 16]);
    let file = WeightFile::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20).unwrap();
    assert!(file.tensor("w", &[4], &Device::Cpu).unwrap_err().to_string().contains("cannot be read"));
}

proptest! {
    #[test]
    fn no_damage_to_a_real_file_breaks_the_reader(at in 0_usize..2_000, value in any::<u8>(), cut in 0_usize..4_000) {
        let mut bytes = real();
        let end = bytes.len();
        bytes[at] = value;
        bytes.truncate(end - cut.min(end) * usize::from(cut % 3 == 0));
        read_all(&bytes);
    }

    #[test]
    fn no_bytes_at_all_break_the_reader(header in proptest::collection::vec(any::<u8>(), 0..200), length in 0_u64..260) {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(header);
        read_all(&bytes);
    }
}

/// Opens what may be damaged and, if it opens, reads a tensor; either may fail, neither may panic.
fn read_all(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let read: Result<(), UnreadableFile> = WeightFile::open(&path).and_then(|file| {
        file.tensor("weights.final_layer_norm.weight", &[8], &Device::Cpu)?;
        file.tensor("y", &[2, 8, 8], &Device::Cpu).map(|_| ())
    });
    if let Err(error) = read {
        assert_eq!(error.file, path);
    }
}

fn real() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clip_gelu.safetensors")).unwrap()
}

fn write(folder: &Path, header: &str, data: &[u8]) -> std::path::PathBuf {
    let path = folder.join("w.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    std::fs::write(&path, bytes).unwrap();
    path
}
