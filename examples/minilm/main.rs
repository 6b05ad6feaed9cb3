//! Sentence embeddings with all-MiniLM-L6-v2: a real model in which every arithmetic step is one of our kernels.
//!
//! ```sh
//! ./scripts/fetch-model
//! cargo run --release --example minilm                    # a built-in list of sentences
//! cargo run --release --example minilm -- sentences.txt   # one sentence per line
//! ```
//!
//! Prints each sentence with its nearest neighbour among the others, and how many sentences per second go
//! through. `kernels.rs` holds the kernels, `model.rs` the encoder, `tokens.rs` the tokenizer.

use std::path::Path;
use std::time::Instant;

use helion::prelude::*;
use model::MiniLm;

mod kernels;
mod model;
mod tokens;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/all-MiniLM-L6-v2");
const SENTENCES: &str = include_str!("../../tests/fixtures/minilm/sentences.txt");

fn main() -> Result<()> {
    let folder = Path::new(FOLDER);
    ensure!(folder.is_dir(), "{FOLDER} is missing: run ./scripts/fetch-model");
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(&path).map_err(|e| Error::file(format!("{path}: {e}")))?,
        None => SENTENCES.to_owned(),
    };
    let sentences: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    ensure!(sentences.len() > 1, "at least two sentences are needed to compare them");

    let begin = Instant::now();
    let model = MiniLm::open(folder)?;
    println!("model opened in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    let tokens: usize = model.tokens().encode(&sentences)?.iter().map(Vec::len).sum();
    println!("{} sentences, {tokens} tokens", sentences.len());
    let begin = Instant::now();
    let vectors = model.embed(&sentences)?;
    println!("first call, with compiling: {:.1} ms\n", begin.elapsed().as_secs_f64() * 1e3);

    print_neighbours(&sentences, &vectors);
    print_speed(&model, &sentences)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn print_neighbours(sentences: &[&str], vectors: &[Vec<f32>]) {
    for (i, v) in vectors.iter().enumerate() {
        let others = (0..vectors.len()).filter(|j| *j != i).map(|j| (cosine(v, &vectors[j]), j));
        if let Some((score, j)) = others.max_by(|a, b| a.0.total_cmp(&b.0)) {
            println!("{:<50}  {score:.3}  {}", shortened(sentences[i]), shortened(sentences[j]));
        }
    }
}

fn shortened(sentence: &str) -> String {
    match sentence.char_indices().nth(48) {
        Some((end, _)) => format!("{} …", &sentence[..end]),
        None => sentence.to_owned(),
    }
}

fn print_speed(model: &MiniLm, sentences: &[&str]) -> Result<()> {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed().as_secs_f64() < 2.0 {
        model.embed(sentences)?;
        done += sentences.len();
    }
    println!("\n{:.0} sentences per second", done as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
