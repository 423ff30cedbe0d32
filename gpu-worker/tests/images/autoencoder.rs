//! The autoencoder both ways, whole and in tiles.

use candle_core::{Device, Tensor};
use tintype_worker::models::vae::{Tiles, VaeConfig, VaeDecoder, VaeEncoder};
use tintype_worker::rng::Mt19937;

use crate::common::{Case, close};

/// One forward pass in fp32; outputs have a standard deviation near 1.
const FORWARD: f32 = 1e-5;

/// Name, shape of the latents, pixels to a side of it, and the tiles that `sample_size` asks for.
const CASES: [(&str, [usize; 4], usize, Tiles); 2] = [
    ("autoencoder", [2, 4, 14, 20], 2, Tiles { latent: 8, pixels: 16 }),
    ("autoencoder_old", [1, 3, 10, 11], 4, Tiles { latent: 8, pixels: 32 }),
];

#[test]
fn pictures_are_encoded_as_diffusers_does() {
    for (name, [batch, channels, height, width], factor, _) in CASES {
        let case = Case::open(name);
        let vae = VaeEncoder::read(&case.config(VaeConfig::read), &case.weights()).unwrap();
        let x = case.tensor("x", &[batch, 3, height * factor, width * factor]);
        let posterior = vae.encode(&x).unwrap();
        let latent = [batch, channels, height, width];
        assert_eq!(posterior.dims(), latent);
        close(&format!("{name}, mode"), &posterior.mode().unwrap(), &case.tensor("mode", &latent), FORWARD);
        let noise = Mt19937::new(7).randn(latent.iter().product());
        let sample = posterior.sample(noise).unwrap();
        close(&format!("{name}, sample"), &sample, &case.tensor("sample", &latent), FORWARD);
        let last = vae.encode(&x.narrow(0, batch - 1, 1).unwrap()).unwrap().mode().unwrap();
        let beside = posterior.mode().unwrap().narrow(0, batch - 1, 1).unwrap();
        close("a sample alone, to the bit", &last, &beside, 0.0);
        assert!(vae.encode(&x.narrow(3, 0, width * factor - 1).unwrap()).is_err(), "a side between two multiples");
        assert!(posterior.sample(vec![0.0; 3]).is_err(), "too few numbers");
    }
}

#[test]
fn large_pictures_in_tiles_are_diffusers() {
    for (name, [batch, channels, height, width], factor, tiles) in CASES {
        let case = Case::open(name);
        let config = case.config(VaeConfig::read);
        let (encoder, decoder) =
            (VaeEncoder::read(&config, &case.weights()).unwrap(), VaeDecoder::read(&config, &case.weights()).unwrap());
        let (latent, pixels) = ([batch, channels, height, width], [batch, 3, height * factor, width * factor]);
        let (x, z) = (case.tensor("x", &pixels), case.tensor("z", &latent));
        close(name, &decoder.decode(&z).unwrap(), &case.tensor("decoded", &pixels), FORWARD);
        let tiled = decoder.decode_in_tiles(&z, tiles).unwrap();
        close(&format!("{name}, decoded in tiles"), &tiled, &case.tensor("tiled", &pixels), FORWARD);
        let mode = encoder.encode_in_tiles(&x, tiles).unwrap().mode().unwrap();
        close(&format!("{name}, encoded in tiles"), &mode, &case.tensor("tiled_mode", &latent), FORWARD);
    }
}

#[test]
fn beyond_a_megapixel_tiles_are_taken_unasked() {
    let case = Case::open("autoencoder");
    let decoder = VaeDecoder::read(&case.config(VaeConfig::read), &case.weights()).unwrap();
    let noise = Mt19937::new(1).randn(4 * 132 * 128);
    let large = Tensor::from_vec(noise, (1, 4, 132, 128), &Device::Cpu).unwrap();
    let tiles = Tiles { latent: 64, pixels: 128 };
    let decoded = decoder.decode(&large).unwrap();
    assert_eq!(decoded.dims(), [1, 3, 264, 256]);
    close("in tiles", &decoded, &decoder.decode_in_tiles(&large, tiles).unwrap(), 0.0);
}
