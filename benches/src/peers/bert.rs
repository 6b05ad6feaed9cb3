//! candle's BERT with the weights of all-MiniLM-L6-v2, for the comparison with `examples/minilm`.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

/// The model.
pub struct Bert(BertModel);

/// One padded batch.
pub struct Batch {
    ids: Tensor,
    kinds: Tensor,
    mask: Tensor,
}

impl Bert {
    /// Opens the weights.
    ///
    /// # Errors
    /// candle's, in words.
    pub fn open(weights: &Path) -> Result<Bert, String> {
        let config = Config { hidden_size: 384, num_hidden_layers: 6, intermediate_size: 1536, ..Config::default() };
        let load = || {
            // SAFETY: the file is not changed while it is mapped.
            let vars = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &Device::Cpu) }?;
            BertModel::load(vars, &config)
        };
        load().map(Bert).map_err(|e| e.to_string())
    }

    /// Mean of the last layer over the tokens of each sentence, scaled to length 1.
    ///
    /// # Errors
    /// candle's, in words.
    pub fn forward(&self, batch: &Batch) -> Result<Vec<Vec<f32>>, String> {
        let run = || {
            let hidden = self.0.forward(&batch.ids, &batch.kinds, Some(&batch.mask))?;
            let mask = batch.mask.to_dtype(DType::F32)?.unsqueeze(2)?;
            let mean = hidden.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
            mean.broadcast_div(&mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?.to_vec2()
        };
        run().map_err(|e: candle_core::Error| e.to_string())
    }
}

impl Batch {
    /// Pads token numbers to one length.
    ///
    /// # Errors
    /// candle's, in words.
    pub fn new(sentences: &[&[i64]]) -> Result<Batch, String> {
        let (n, longest) = (sentences.len(), sentences.iter().map(|s| s.len()).max().unwrap_or(0));
        let padded = |f: &dyn Fn(i64) -> u32| -> Vec<u32> {
            sentences.iter().flat_map(|s| (0..longest).map(|i| s.get(i).map_or(0, |id| f(*id)))).collect()
        };
        let make = || {
            let ids = Tensor::from_vec(padded(&|id| id as u32), (n, longest), &Device::Cpu)?;
            let mask = Tensor::from_vec(padded(&|_| 1), (n, longest), &Device::Cpu)?;
            Ok(Batch { kinds: ids.zeros_like()?, ids, mask })
        };
        make().map_err(|e: candle_core::Error| e.to_string())
    }
}
