//! Configs that ask for the absurd: refused by the file's name, before anything is allocated on their word.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tintype_types::FailureReason;
use tintype_worker::pipeline::{CandlePipeline, Pipeline as _, PipelineError, ResidentLimits};

/// A folder's configs, and in each the fields that say how much of something there is.
const SIZES: [(&str, &[&str]); 4] = [
    (
        "unet/config.json",
        &[
            "in_channels",
            "out_channels",
            "block_out_channels",
            "layers_per_block",
            "transformer_layers_per_block",
            "attention_head_dim",
            "cross_attention_dim",
            "norm_num_groups",
            "norm_eps",
            "freq_shift",
            "time_embedding_dim",
            "num_attention_heads",
        ],
    ),
    (
        "vae/config.json",
        &["out_channels", "latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups"],
    ),
    (
        "text_encoder/config.json",
        &[
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "layer_norm_eps",
        ],
    ),
    ("scheduler/scheduler_config.json", &["num_train_timesteps", "beta_start", "beta_end", "steps_offset"]),
];
/// More than a load of the tiny model and a thousand refusals take, in KiB; less than any absurd size would.
const PEAK_KIB_MAX: u64 = 64 << 10;

/// One test at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// What no size can be. Python writes the last one.
fn absurd() -> Vec<Value> {
    let mut values = vec![
        json!(-1),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(1_u64 << 32),
        json!(1e300),
        json!("four"),
        json!({"of": 4}),
        json!([[4]]),
        json!(vec![1_u64 << 40; 4]),
        json!(vec![48; 100_000]),
    ];
    values.push((0..100).fold(json!(4), |inner, _| json!([inner])));
    values
}

#[test]
fn no_absurd_size_is_believed_and_none_costs_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = Model::new();
    model.load().unwrap();
    // The peak is counted from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_kib("VmRSS:");
    for (file, fields) in SIZES {
        for field in fields {
            for value in absurd() {
                let whole = model.with(file, field, &value);
                let error = model.load().expect_err(&format!("{file} with {field} {value:.60}"));
                assert_eq!(error.reason(), (FailureReason::ModelUnreadable, false), "{field} {value:.60}: {error}");
                let PipelineError::Unreadable { file: unread, .. } = &error else { unreachable!("the reason says so") };
                // A size that could be, but is not the weights', is said with their file and the tensor.
                let name = unread.file.to_str().unwrap();
                assert!(
                    name.ends_with(file) || name.ends_with(".safetensors") || unread.file == model.path(),
                    "{error}"
                );
                model.restore(file, &whole);
            }
        }
    }
    for (file, field) in [
        ("unet/config.json", "block_out_channels"),
        ("unet/config.json", "layers_per_block"),
        ("unet/config.json", "norm_num_groups"),
        ("unet/config.json", "attention_head_dim"),
        ("vae/config.json", "norm_num_groups"),
        ("vae/config.json", "scaling_factor"),
        ("text_encoder/config.json", "num_attention_heads"),
        ("text_encoder/config.json", "hidden_size"),
    ] {
        let whole = model.with(file, field, &json!(0));
        assert_eq!(model.load().unwrap_err().reason(), (FailureReason::ModelUnreadable, false), "{file} {field} 0");
        model.restore(file, &whole);
    }
    let peak = status_kib("VmHWM:") - before;
    assert!(peak < PEAK_KIB_MAX, "the refusals took {peak} KiB");
    model.load().unwrap();
}

#[test]
fn a_config_that_never_ends_is_not_read() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = Model::new();
    let path = model.path().join("vae/config.json");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = model.load().unwrap_err();
    assert_eq!(error.reason(), (FailureReason::ModelUnreadable, false), "{error}");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b' '; (2 << 20) + 1]).unwrap();
    let error = model.load().unwrap_err().to_string();
    assert!(error.contains("at most 2097152 are read"), "{error}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..200).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z_0-9]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_a_field_holds_the_model_loads_or_is_refused(
        (file, at) in (0..SIZES.len(), any::<prop::sample::Index>()),
        value in any_json(),
    ) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let model = Model::new();
        let name = SIZES[file].0;
        let fields: Vec<String> = model.read(name).keys().cloned().collect();
        model.with(name, at.get(fields.as_slice()).as_str(), &value);
        if let Err(error) = model.load() {
            // A folder whose family cannot be told from its configs is no model's.
            let (reason, retryable) = error.reason();
            let known = matches!(reason, FailureReason::ModelUnreadable | FailureReason::UnknownModel);
            prop_assert!(known && !retryable, "{}", error);
        }
    }
}

/// The shipped model in a folder whose configs may be changed.
struct Model {
    root: tempfile::TempDir,
}

impl Model {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes");
        copy(&shipped, &root.path().join("m"));
        // Its name is then its place.
        std::fs::remove_file(root.path().join("m/tintype.json")).unwrap();
        Self { root }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("m")
    }

    fn load(&self) -> Result<(), PipelineError> {
        let limits = ResidentLimits { count: 1, bytes: 0 };
        CandlePipeline::new(vec![self.root.path().to_owned()], limits)?.load("m")
    }

    fn read(&self, file: &str) -> Map<String, Value> {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        serde_json::from_str(&text.replace("-Infinity", "null")).unwrap()
    }

    /// Sets a field, and gives the file as it was.
    fn with(&self, file: &str, field: &str, value: &Value) -> String {
        let whole = std::fs::read_to_string(self.path().join(file)).unwrap();
        let mut config = self.read(file);
        config.insert(field.to_owned(), value.clone());
        self.restore(file, &serde_json::to_string(&config).unwrap());
        whole
    }

    fn restore(&self, file: &str, whole: &str) {
        std::fs::write(self.path().join(file), whole).unwrap();
    }
}

/// Configs as copies, weights as links.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap().path(), to.to_owned());
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &to);
        } else if entry.extension().is_some_and(|extension| extension == "safetensors") {
            std::os::unix::fs::symlink(entry.canonicalize().unwrap(), &to).unwrap();
        } else {
            std::fs::copy(&entry, &to).unwrap();
        }
    }
}

/// A line of this process's status, in KiB.
fn status_kib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
