//! all-MiniLM-L6-v2 end to end: token numbers to sentence vectors.

use std::path::Path;

use helion::prelude::*;

use super::{Case, Context, Work, words};
use crate::bert::{self, Bert};
use crate::minilm::MiniLm;
use crate::python::{Array, same};
use crate::race::{Contestant, Kind};
use crate::tokens::Batch;

/// One sentence of 32 tokens, and 32 of 64.
pub fn all(context: &Context) -> std::result::Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/all-MiniLM-L6-v2");
    for (sentences, length, quick) in [(1, 32, true), (32, 64, false)] {
        if !context.wants("minilm", quick) {
            continue;
        }
        let model = MiniLm::open(&folder).map_err(words)?;
        let theirs = Bert::open(&folder.join("model.safetensors"))?;
        let tokens = cut(&model, sentences, length)?;
        let rows: Vec<&[i64]> = tokens.iter().map(Vec::as_slice).collect();
        let (ours, peer) = (Batch::new(&rows).map_err(words)?, bert::Batch::new(&rows)?);
        let ids = Tensor::from_vec([sentences, length], tokens.concat()).map_err(words)?;
        let mask = Tensor::full([sentences, length], 1i64);
        context.run(Case {
            kernel: "minilm",
            shape: format!("{sentences} of {length} tokens"),
            work: Work::Things(sentences, "sentences"),
            tolerance: 1e-3,
            python: ("minilm", vec![Array::new("ids", &ids)?, Array::new("mask", &mask)?]),
            compile: true,
            call: &|| model.forward(&ours),
            crates: &|want| {
                same("candle", &theirs.forward(&peer)?.concat(), want, 1e-3)?;
                Ok(vec![Contestant::new("candle", Kind::Peer, || theirs.forward(&peer))])
            },
        });
    }
    Ok(())
}

/// Sentences of exactly so many tokens, from the fixture's text.
fn cut(model: &MiniLm, sentences: usize, length: usize) -> std::result::Result<Vec<Vec<i64>>, String> {
    let text = include_str!("../../../../tests/fixtures/minilm/sentences.txt");
    let all = model.tokens().encode(&text.lines().collect::<Vec<_>>()).map_err(words)?.concat();
    let endless = all.iter().copied().cycle();
    Ok((0..sentences).map(|i| endless.clone().skip(i * length).take(length).collect()).collect())
}
