//! Text to token numbers, through the `tokenizers` crate.

use std::path::Path;

use helion::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

/// The longest sentence, in tokens; what the published model was configured for. Longer ones are cut.
pub const LONGEST: usize = 256;

/// The model's own tokenizer.
pub struct Tokens(Tokenizer);

/// Sentences of one batch, padded to the longest of them.
pub struct Batch {
    /// Token numbers, one sentence after the other.
    pub ids: Tensor<i64, 1>,
    /// Tokens of each sentence.
    pub lengths: Tensor<i64, 1>,
    /// Tokens of the longest.
    pub longest: usize,
}

impl Tokens {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn open(path: &Path) -> Result<Tokens> {
        let failed = |e| Error::file(format!("{}: {e}", path.display()));
        let mut tokenizer = Tokenizer::from_file(path).map_err(failed)?;
        let truncation = TruncationParams { max_length: LONGEST, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(failed)?;
        Ok(Tokens(tokenizer))
    }

    /// The token numbers of each sentence.
    ///
    /// # Errors
    /// When a sentence cannot be encoded.
    pub fn encode(&self, sentences: &[&str]) -> Result<Vec<Vec<i64>>> {
        let encoded = self.0.encode_batch(sentences.to_vec(), true).map_err(Error::check)?;
        Ok(encoded.iter().map(|e| e.get_ids().iter().map(|id| i64::from(*id)).collect()).collect())
    }
}

impl Batch {
    /// Pads sentences to one length.
    ///
    /// # Errors
    /// When they do not fit in memory.
    pub fn new(sentences: &[&[i64]]) -> Result<Batch> {
        let longest = sentences.iter().map(|s| s.len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(sentences.len() * longest);
        for s in sentences {
            ids.extend_from_slice(s);
            ids.resize(ids.len() + longest - s.len(), 0);
        }
        let lengths = sentences.iter().map(|s| s.len() as i64).collect();
        Ok(Batch {
            ids: Tensor::from_vec([ids.len()], ids)?,
            lengths: Tensor::from_vec([sentences.len()], lengths)?,
            longest,
        })
    }
}
