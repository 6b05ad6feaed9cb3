//! The model of `examples/minilm` against reference vectors of an independent implementation.
//!
//! The vectors in `tests/fixtures/minilm` were made by `scripts/make-minilm-fixture.py` with PyTorch. The
//! weights are not in the repository: without them (`scripts/fetch-model`) the test says so and passes.
#![allow(dead_code)] // the example's other parts

use std::path::Path;

use safetensors::SafeTensors;

#[path = "../examples/minilm/kernels.rs"]
mod kernels;
#[path = "../examples/minilm/model.rs"]
mod model;
#[path = "../examples/minilm/tokens.rs"]
mod tokens;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SENTENCES: &str = include_str!("fixtures/minilm/sentences.txt");
const REFERENCE: &[u8] = include_bytes!("fixtures/minilm/reference.safetensors");

/// The reference vectors, and how many tokens each sentence has.
fn reference() -> (Vec<Vec<f32>>, Vec<usize>) {
    let file = SafeTensors::deserialize(REFERENCE).expect("the fixture is a safetensors file");
    let words = |name| -> Vec<[u8; 4]> {
        let data = file.tensor(name).expect("the fixture has this tensor").data();
        data.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]).collect()
    };
    let numbers: Vec<f32> = words("embeddings").into_iter().map(f32::from_le_bytes).collect();
    let lengths: Vec<usize> = words("tokens").into_iter().map(|w| i32::from_le_bytes(w) as usize).collect();
    (numbers.chunks(numbers.len() / lengths.len()).map(<[f32]>::to_vec).collect(), lengths)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_agree_with_the_reference() {
    let folder = Path::new(ROOT).join("models/all-MiniLM-L6-v2");
    if !folder.join("model.safetensors").is_file() {
        eprintln!("skipped: {} is missing; scripts/fetch-model fetches it", folder.display());
        return;
    }
    let sentences: Vec<&str> = SENTENCES.lines().collect();
    let (want, lengths) = reference();
    assert_eq!(sentences.len(), 32);
    let model = model::MiniLm::open(&folder).unwrap_or_else(|e| panic!("{e}"));
    let tokens = model.tokens().encode(&sentences).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), lengths);

    // All at once, one at a time, and in threes: batch size and padding must not matter.
    for size in [32, 1, 3] {
        for (i, chunk) in sentences.chunks(size).enumerate() {
            let got = model.embed(chunk).unwrap_or_else(|e| panic!("{e}"));
            for (j, vector) in got.iter().enumerate() {
                let (sentence, similarity) = (i * size + j, cosine(vector, &want[i * size + j]));
                assert!(similarity >= 0.9999, "sentence {sentence} in batches of {size}: cosine {similarity}");
                let length = cosine(vector, vector) * vector.iter().map(|v| f64::from(v * v)).sum::<f64>();
                assert!((length - 1.0).abs() < 1e-4, "sentence {sentence}: length {length}");
            }
        }
    }
}
