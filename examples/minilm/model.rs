//! The encoder: six layers of attention and feed-forward on top of an embedding.
//!
//! The weights stay where they are, in the memory-mapped file; loading copies nothing.

use std::path::Path;

use helion::SafeTensors;
use helion::prelude::*;

use super::kernels::{Norm, add_norm, attention, embed, gelu, identity, linear, pool};
use super::tokens::{Batch, Tokens};

const LAYERS: usize = 6;
const HEADS: usize = 12;
const EPS: f32 = 1e-12;
/// The most tokens that go through the layers together, padding included.
const MOST_TOKENS: usize = 2048;

struct Linear {
    weight: Tensor<f32, 2>,
    bias: Tensor<f32, 1>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    wide: Linear,
    narrow: Linear,
    narrow_norm: Norm,
}

/// all-MiniLM-L6-v2: sentences to vectors of length 1 that are close when the meanings are.
pub struct MiniLm {
    tokens: Tokens,
    words: Tensor<f32, 2>,
    positions: Tensor<f32, 2>,
    segments: Tensor<f32, 2>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Reader(SafeTensors);

impl Reader {
    fn linear(&self, name: &str) -> Result<Linear> {
        Ok(Linear { weight: self.0.tensor(&format!("{name}.weight"))?, bias: self.0.tensor(&format!("{name}.bias"))? })
    }
    fn norm(&self, name: &str) -> Result<Norm> {
        Ok(Norm {
            weight: self.0.tensor(&format!("{name}.weight"))?,
            bias: self.0.tensor(&format!("{name}.bias"))?,
            eps: EPS,
        })
    }
    fn layer(&self, i: usize) -> Result<Layer> {
        let at = |part: &str| format!("encoder.layer.{i}.{part}");
        Ok(Layer {
            query: self.linear(&at("attention.self.query"))?,
            key: self.linear(&at("attention.self.key"))?,
            value: self.linear(&at("attention.self.value"))?,
            attended: self.linear(&at("attention.output.dense"))?,
            attended_norm: self.norm(&at("attention.output.LayerNorm"))?,
            wide: self.linear(&at("intermediate.dense"))?,
            narrow: self.linear(&at("output.dense"))?,
            narrow_norm: self.norm(&at("output.LayerNorm"))?,
        })
    }
}

impl Linear {
    fn apply<A: TileFn<Tile<f32, 2>>>(&self, x: &Tensor<f32, 2>, activation: A) -> Result<Tensor<f32, 2>> {
        linear(x, &self.weight, &self.bias, activation)
    }
}

impl Layer {
    /// `x` is `[tokens, features]`.
    fn apply(&self, x: &Tensor<f32, 2>, batch: &Batch) -> Result<Tensor<f32, 2>> {
        let [tokens, d] = x.dims();
        let [sentences] = batch.lengths.dims();
        let heads = |l: &Linear| l.apply(x, identity)?.reshape([sentences, batch.longest, HEADS, d / HEADS]);
        let scale = 1.0 / ((d / HEADS) as f32).sqrt();
        let seen = attention(&heads(&self.query)?, &heads(&self.key)?, &heads(&self.value)?, &batch.lengths, scale)?;
        let seen = self.attended.apply(&seen.reshape([tokens, d])?, identity)?;
        let x = add_norm(&seen, x, &self.attended_norm)?;
        let y = self.narrow.apply(&self.wide.apply(&x, gelu)?, identity)?;
        add_norm(&y, &x, &self.narrow_norm)
    }
}

impl MiniLm {
    /// Opens a folder with `model.safetensors` and `tokenizer.json`.
    ///
    /// # Errors
    /// When a file is missing, malformed or not this model.
    pub fn open(folder: &Path) -> Result<MiniLm> {
        // SAFETY: nobody changes the model's file while the program runs.
        let file = Reader(unsafe { SafeTensors::map(folder.join("model.safetensors")) }?);
        Ok(MiniLm {
            tokens: Tokens::open(&folder.join("tokenizer.json"))?,
            words: file.0.tensor("embeddings.word_embeddings.weight")?,
            positions: file.0.tensor("embeddings.position_embeddings.weight")?,
            segments: file.0.tensor("embeddings.token_type_embeddings.weight")?,
            norm: file.norm("embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|i| file.layer(i)).collect::<Result<_>>()?,
        })
    }

    /// The tokenizer.
    #[allow(dead_code, reason = "for those who measure the encoder alone")]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// One vector of length 1 for each sentence of a batch.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn forward(&self, batch: &Batch) -> Result<Tensor<f32, 2>> {
        let mut x = embed(&batch.ids, batch.longest, &self.words, &self.positions, &self.segments, &self.norm)?;
        for layer in &self.layers {
            x = layer.apply(&x, batch)?;
        }
        let [_, d] = x.dims();
        pool(&x.reshape([batch.lengths.dims()[0], batch.longest, d])?, &batch.lengths)
    }

    /// One vector of length 1 for each sentence. Sentences of similar length go through the layers together.
    ///
    /// # Errors
    /// When a sentence cannot be encoded.
    pub fn embed(&self, sentences: &[&str]) -> Result<Vec<Vec<f32>>> {
        let tokens = self.tokens.encode(sentences)?;
        let mut out = vec![Vec::new(); sentences.len()];
        for group in groups(&tokens) {
            let batch = Batch::new(&group.iter().map(|i| tokens[*i].as_slice()).collect::<Vec<_>>())?;
            let vectors = self.forward(&batch)?.to_vec()?;
            for (vector, i) in vectors.chunks(vectors.len() / group.len()).zip(group) {
                out[i] = vector.to_vec();
            }
        }
        Ok(out)
    }
}

/// Numbers of sentences that make good batches: of similar length, so that little is padding, and not too many.
fn groups(tokens: &[Vec<i64>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|i| tokens[*i].len());
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        let length = tokens[i].len();
        match groups.last_mut() {
            Some(g) if length <= tokens[g[0]].len() * 5 / 4 + 2 && (g.len() + 1) * length <= MOST_TOKENS => g.push(i),
            _ => groups.push(vec![i]),
        }
    }
    groups
}
