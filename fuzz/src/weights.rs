//! A file of weights: whatever it holds, it is refused by its name or means what the format's own reader says it means.

use candle_core::Device;
use safetensors::SafeTensors;
use tintype_worker::weights::WeightFile;

use crate::scratch::file_of;

pub(crate) fn run(bytes: &[u8]) {
    let path = file_of(bytes);
    let file = match WeightFile::open(&path) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.file == path && !error.what.is_empty());
            return;
        }
    };
    let reference = SafeTensors::deserialize(bytes).expect("what we take, the format's own reader takes");
    let shapes = file.shapes();
    assert_eq!(shapes.len(), reference.len());
    let mut bits = 0;
    for (name, shape) in &shapes {
        let theirs = reference.tensor(name).expect("the tensors are the same");
        assert_eq!(shape, theirs.shape());
        bits += shape.iter().product::<usize>() * theirs.dtype().bitsize();
        match file.tensor(name, shape, &Device::Cpu) {
            Ok(tensor) => {
                assert_eq!(tensor.dims(), shape.as_slice());
                let numbers: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("it is in memory");
                assert!(numbers.iter().all(|number| number.is_finite()), "{name}");
            }
            Err(error) => assert!(error.file == path && error.what.contains(name.as_str()), "{error}"),
        }
    }
    assert!(bits / 8 < bytes.len(), "the tensors lie inside the file");
}
